# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_tracer_global_optspecs
    string join \n config= fingerprints= o/output= output-file= w/wide stories= for= count= heartbeat= history= theme= ascii abnormal events= pid= comm= port= local-port= peer= container= unit= hint= reason= metrics-listen= metrics-max-workloads= hooks= ring-size= max-connections= host-proc= v/verbose log-format= h/help V/version
end

function __fish_tracer_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_tracer_global_optspecs) -- $cmd 2>/dev/null
    or return 0
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_tracer_using_subcommand
    set -l cmd (__fish_tracer_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c tracer -n "__fish_tracer_needs_command" -l config -d 'Read options from this TOML file' -r -F
complete -c tracer -n "__fish_tracer_needs_command" -l fingerprints -d 'Timeouts of this site, for the hints of events' -r -F
complete -c tracer -n "__fish_tracer_needs_command" -s o -l output -d 'How to write events [default: auto]' -r -f -a "auto\t''
tui\t''
json\t''
text\t''"
complete -c tracer -n "__fish_tracer_needs_command" -l output-file -d 'Append to this file instead of writing to stdout' -r -F
complete -c tracer -n "__fish_tracer_needs_command" -l stories -d 'Which ends get a story and a timeline: all, or all but clean ones [default: abnormal]' -r -f -a "abnormal\t''
all\t''"
complete -c tracer -n "__fish_tracer_needs_command" -l for -d 'Stop after this time' -r
complete -c tracer -n "__fish_tracer_needs_command" -l count -d 'Stop after this many events' -r
complete -c tracer -n "__fish_tracer_needs_command" -l heartbeat -d 'Time between two `heartbeat` lines [default: 60s]' -r
complete -c tracer -n "__fish_tracer_needs_command" -l history -d 'Events that the live view keeps [default: 10000]' -r
complete -c tracer -n "__fish_tracer_needs_command" -l theme -d 'Colours of the live view [default: default, or mono with NO_COLOR]' -r -f -a "default\t''
colour-blind\t''
high-contrast\t''
mono\t''"
complete -c tracer -n "__fish_tracer_needs_command" -l events -d 'Only these kinds of event' -r -f -a "tcp_close\t''
tcp_connect_failed\t''
tcp_reset\t''
tcp_io_error\t''"
complete -c tracer -n "__fish_tracer_needs_command" -l pid -d 'Connections that this process owned, by its id outside of any container' -r
complete -c tracer -n "__fish_tracer_needs_command" -l comm -d 'Connections of processes with exactly this name, as `ps -o comm` shows it' -r -f -a "(__fish_complete_command)"
complete -c tracer -n "__fish_tracer_needs_command" -l port -d 'Connections with this port at either end' -r
complete -c tracer -n "__fish_tracer_needs_command" -l local-port -d 'Connections with this port at this end' -r
complete -c tracer -n "__fish_tracer_needs_command" -l peer -d 'Connections whose peer has this address or is in this network' -r
complete -c tracer -n "__fish_tracer_needs_command" -l container -d 'Connections of this container: its name, its id, or the first 6 or more digits of that; `-`: of none' -r
complete -c tracer -n "__fish_tracer_needs_command" -l unit -d 'Connections of this systemd unit, with its type: nginx.service' -r
complete -c tracer -n "__fish_tracer_needs_command" -l hint -d 'Ends that this timeout fits, such as nginx.proxy_read_timeout; `-`: that none fits' -r
complete -c tracer -n "__fish_tracer_needs_command" -l reason -d 'Ends with this reason, and I/O errors with this culprit' -r -f -a "fin_local\t'We closed first: our FIN began the end.'
fin_peer\t'The peer closed first: its FIN began the end.'
fin_both\t'Both ends closed at once: the FINs crossed.'
fin_peer_rst\t'The broken pipe: the peer closed, we wrote, and the peer answered with a RST.'
rst_peer\t'The peer sent a RST.'
abort_unread\t'We closed with received data unread, so the kernel sent a RST instead of a FIN.'
abort_linger0\t'We closed with SO_LINGER set to 0: a RST instead of a FIN.'
abort_admin\t'An administrator destroyed the socket (`ss -K`, SOCK_DESTROY).'
disconnect\t'The process disconnected the socket: connect(AF_UNSPEC).'
listener_closed\t'The listener was closed before the connection was accepted.'
timeout_retrans\t'The peer did not acknowledge data, however often it was sent again (tcp_retries2).'
timeout_keepalive\t'The peer answered no keepalive probe.'
timeout_user\t'The peer was silent for longer than TCP_USER_TIMEOUT.'
timeout_probe\t'The peer answered no window probe, or the data could not leave this host.'
timeout_fin_wait\t'After our FIN was acknowledged, the peer\'s never came (tcp_fin_timeout, TCP_LINGER2).'
timeout_orphan\t'After our close, the peer never acknowledged the rest (tcp_orphan_retries).'
connect_refused\t'The peer answered the SYN with a RST: nothing listens there, or a firewall rejects.'
connect_timeout\t'No answer to the SYN (tcp_syn_retries).'
connect_unreachable\t'An ICMP error answered the SYN.'
connect_cancelled\t'The process gave up before the connection was established.'
oom\t'Out of TCP memory, or too many orphans (tcp_mem, tcp_max_orphans).'
netns_exit\t'The network namespace went away.'
unknown\t'The kernel\'s traces do not say.'"
complete -c tracer -n "__fish_tracer_needs_command" -l metrics-listen -d 'Serve metrics for Prometheus at /metrics of this address, and /healthz' -r
complete -c tracer -n "__fish_tracer_needs_command" -l metrics-max-workloads -d 'Workloads that metrics name, the first ones; the rest is `_other` [default: 200]' -r
complete -c tracer -n "__fish_tracer_needs_command" -l hooks -d 'Attach by this family of hooks where the kernel leaves a choice [default: auto]' -r -f -a "auto\t''
tp_btf\t''
fentry\t''
kprobe\t''"
complete -c tracer -n "__fish_tracer_needs_command" -l ring-size -d 'Buffer between kernel and tracer [default: 16M]' -r
complete -c tracer -n "__fish_tracer_needs_command" -l max-connections -d 'Connections that can be tracked at a time [default: 131072]' -r
complete -c tracer -n "__fish_tracer_needs_command" -l host-proc -d 'Where the node\'s /proc is mounted, for tracing in a container with pids of its own [default: /proc]' -r -f -a "(__fish_complete_directories)"
complete -c tracer -n "__fish_tracer_needs_command" -l log-format -d 'How to write that [default: text]' -r -f -a "text\t''
json\t''"
complete -c tracer -n "__fish_tracer_needs_command" -s w -l wide -d 'Text without the limit of 100 columns, with more of them'
complete -c tracer -n "__fish_tracer_needs_command" -l ascii -d 'Draw the live view in ASCII, as where the locale is not UTF-8'
complete -c tracer -n "__fish_tracer_needs_command" -l abnormal -d 'Leave out clean closes'
complete -c tracer -n "__fish_tracer_needs_command" -s v -l verbose -d 'Say more about what tracer does, on stderr; repeat for still more'
complete -c tracer -n "__fish_tracer_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tracer -n "__fish_tracer_needs_command" -s V -l version -d 'Print version'
complete -c tracer -n "__fish_tracer_needs_command" -f -a "demo" -d 'Break a pipe on loopback and explain its records: start here'
complete -c tracer -n "__fish_tracer_needs_command" -f -a "doctor" -d 'Say what this kernel offers: which hook serves each signal, and what cannot be seen'
complete -c tracer -n "__fish_tracer_needs_command" -f -a "replay" -d 'Show recorded events again, with the same outputs and filters'
complete -c tracer -n "__fish_tracer_needs_command" -f -a "explain" -d 'Say what a reason, a pattern or a hint means and what to check next'
complete -c tracer -n "__fish_tracer_needs_command" -f -a "schema" -d 'Print the JSON Schema of the events'
complete -c tracer -n "__fish_tracer_needs_command" -f -a "gen" -d 'Print the man page, shell completions or a configuration file'
complete -c tracer -n "__fish_tracer_using_subcommand demo" -l log-format -d 'How to write that [default: text]' -r -f -a "text\t''
json\t''"
complete -c tracer -n "__fish_tracer_using_subcommand demo" -l part -d 'The demo starts itself again as the client and as the server' -r -f -a "client\t''
server\t''"
complete -c tracer -n "__fish_tracer_using_subcommand demo" -l port -r
complete -c tracer -n "__fish_tracer_using_subcommand demo" -s v -l verbose -d 'Say more about what tracer does, on stderr; repeat for still more'
complete -c tracer -n "__fish_tracer_using_subcommand demo" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tracer -n "__fish_tracer_using_subcommand doctor" -l hooks -d 'As tracing with this family of hooks does [default: auto]' -r -f -a "auto\t''
tp_btf\t''
fentry\t''
kprobe\t''"
complete -c tracer -n "__fish_tracer_using_subcommand doctor" -l log-format -d 'How to write that [default: text]' -r -f -a "text\t''
json\t''"
complete -c tracer -n "__fish_tracer_using_subcommand doctor" -l json -d 'One JSON object, verifier logs included'
complete -c tracer -n "__fish_tracer_using_subcommand doctor" -s v -l verbose -d 'Say more about what tracer does, on stderr; repeat for still more'
complete -c tracer -n "__fish_tracer_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tracer -n "__fish_tracer_using_subcommand replay" -s o -l output -d 'How to write events [default: auto]' -r -f -a "auto\t''
tui\t''
json\t''
text\t''"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l speed -d 'How fast: as it happened, ten times that, or at once [default: 1 in the live view, else max]' -r -f -a "1\t''
10\t''
max\t''"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l fingerprints -d 'Timeouts of this site, for the live view' -r -F
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l history -d 'Events that the live view keeps [default: 10000]' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l theme -d 'Colours of the live view [default: default, or mono with NO_COLOR]' -r -f -a "default\t''
colour-blind\t''
high-contrast\t''
mono\t''"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l events -d 'Only these kinds of event' -r -f -a "tcp_close\t''
tcp_connect_failed\t''
tcp_reset\t''
tcp_io_error\t''"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l pid -d 'Connections that this process owned, by its id outside of any container' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l comm -d 'Connections of processes with exactly this name, as `ps -o comm` shows it' -r -f -a "(__fish_complete_command)"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l port -d 'Connections with this port at either end' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l local-port -d 'Connections with this port at this end' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l peer -d 'Connections whose peer has this address or is in this network' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l container -d 'Connections of this container: its name, its id, or the first 6 or more digits of that; `-`: of none' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l unit -d 'Connections of this systemd unit, with its type: nginx.service' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l hint -d 'Ends that this timeout fits, such as nginx.proxy_read_timeout; `-`: that none fits' -r
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l reason -d 'Ends with this reason, and I/O errors with this culprit' -r -f -a "fin_local\t'We closed first: our FIN began the end.'
fin_peer\t'The peer closed first: its FIN began the end.'
fin_both\t'Both ends closed at once: the FINs crossed.'
fin_peer_rst\t'The broken pipe: the peer closed, we wrote, and the peer answered with a RST.'
rst_peer\t'The peer sent a RST.'
abort_unread\t'We closed with received data unread, so the kernel sent a RST instead of a FIN.'
abort_linger0\t'We closed with SO_LINGER set to 0: a RST instead of a FIN.'
abort_admin\t'An administrator destroyed the socket (`ss -K`, SOCK_DESTROY).'
disconnect\t'The process disconnected the socket: connect(AF_UNSPEC).'
listener_closed\t'The listener was closed before the connection was accepted.'
timeout_retrans\t'The peer did not acknowledge data, however often it was sent again (tcp_retries2).'
timeout_keepalive\t'The peer answered no keepalive probe.'
timeout_user\t'The peer was silent for longer than TCP_USER_TIMEOUT.'
timeout_probe\t'The peer answered no window probe, or the data could not leave this host.'
timeout_fin_wait\t'After our FIN was acknowledged, the peer\'s never came (tcp_fin_timeout, TCP_LINGER2).'
timeout_orphan\t'After our close, the peer never acknowledged the rest (tcp_orphan_retries).'
connect_refused\t'The peer answered the SYN with a RST: nothing listens there, or a firewall rejects.'
connect_timeout\t'No answer to the SYN (tcp_syn_retries).'
connect_unreachable\t'An ICMP error answered the SYN.'
connect_cancelled\t'The process gave up before the connection was established.'
oom\t'Out of TCP memory, or too many orphans (tcp_mem, tcp_max_orphans).'
netns_exit\t'The network namespace went away.'
unknown\t'The kernel\'s traces do not say.'"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l log-format -d 'How to write that [default: text]' -r -f -a "text\t''
json\t''"
complete -c tracer -n "__fish_tracer_using_subcommand replay" -s w -l wide -d 'Text without the limit of 100 columns, with more of them'
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l ascii -d 'Draw the live view in ASCII, as where the locale is not UTF-8'
complete -c tracer -n "__fish_tracer_using_subcommand replay" -l abnormal -d 'Leave out clean closes'
complete -c tracer -n "__fish_tracer_using_subcommand replay" -s v -l verbose -d 'Say more about what tracer does, on stderr; repeat for still more'
complete -c tracer -n "__fish_tracer_using_subcommand replay" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tracer -n "__fish_tracer_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c tracer -n "__fish_tracer_using_subcommand schema" -s h -l help -d 'Print help'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and not __fish_seen_subcommand_from man completions config" -s h -l help -d 'Print help'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and not __fish_seen_subcommand_from man completions config" -f -a "man" -d 'The man page: tracer gen man > tracer.8'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and not __fish_seen_subcommand_from man completions config" -f -a "completions" -d 'Completions for a shell'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and not __fish_seen_subcommand_from man completions config" -f -a "config" -d 'A complete configuration file in which everything is commented out'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and __fish_seen_subcommand_from man" -s h -l help -d 'Print help'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and __fish_seen_subcommand_from completions" -s h -l help -d 'Print help'
complete -c tracer -n "__fish_tracer_using_subcommand gen; and __fish_seen_subcommand_from config" -s h -l help -d 'Print help'
