#compdef tracer

autoload -U is-at-least

_tracer() {
    typeset -A opt_args
    typeset -a _arguments_options
    local ret=1

    if is-at-least 5.2; then
        _arguments_options=(-s -S -C)
    else
        _arguments_options=(-s -C)
    fi

    local context curcontext="$curcontext" state line
    _arguments "${_arguments_options[@]}" : \
'--config=[Read options from this TOML file]:FILE:_files' \
'--fingerprints=[Timeouts of this site, for the hints of events]:FILE:_files' \
'-o+[How to write events \[default\: auto\]]:FORMAT:(auto tui json text)' \
'--output=[How to write events \[default\: auto\]]:FORMAT:(auto tui json text)' \
'--output-file=[Append to this file instead of writing to stdout]:FILE:_files' \
'--stories=[Which ends get a story and a timeline\: all, or all but clean ones \[default\: abnormal\]]:WHICH:(abnormal all)' \
'--for=[Stop after this time]:DURATION:_default' \
'--count=[Stop after this many events]:N:_default' \
'--heartbeat=[Time between two \`heartbeat\` lines \[default\: 60s\]]:DURATION:_default' \
'--history=[Events that the live view keeps \[default\: 10000\]]:N:_default' \
'--theme=[Colours of the live view \[default\: default, or mono with NO_COLOR\]]:THEME:(default colour-blind high-contrast mono)' \
'*--events=[Only these kinds of event]:LIST:(tcp_close tcp_connect_failed tcp_reset tcp_io_error)' \
'*--pid=[Connections that this process owned, by its id outside of any container]:LIST:_default' \
'*--comm=[Connections of processes with exactly this name, as \`ps -o comm\` shows it]:LIST:_command_names -e' \
'*--port=[Connections with this port at either end]:LIST:_default' \
'*--local-port=[Connections with this port at this end]:LIST:_default' \
'*--peer=[Connections whose peer has this address or is in this network]:CIDR:_default' \
'*--container=[Connections of this container\: its name, its id, or the first 6 or more digits of that; \`-\`\: of none]:LIST:_default' \
'*--unit=[Connections of this systemd unit, with its type\: nginx.service]:LIST:_default' \
'*--hint=[Ends that this timeout fits, such as nginx.proxy_read_timeout; \`-\`\: that none fits]:LIST:_default' \
'*--reason=[Ends with this reason, and I/O errors with this culprit]:LIST:((fin_local\:"We closed first\: our FIN began the end."
fin_peer\:"The peer closed first\: its FIN began the end."
fin_both\:"Both ends closed at once\: the FINs crossed."
fin_peer_rst\:"The broken pipe\: the peer closed, we wrote, and the peer answered with a RST."
rst_peer\:"The peer sent a RST."
abort_unread\:"We closed with received data unread, so the kernel sent a RST instead of a FIN."
abort_linger0\:"We closed with SO_LINGER set to 0\: a RST instead of a FIN."
abort_admin\:"An administrator destroyed the socket (\`ss -K\`, SOCK_DESTROY)."
disconnect\:"The process disconnected the socket\: connect(AF_UNSPEC)."
listener_closed\:"The listener was closed before the connection was accepted."
timeout_retrans\:"The peer did not acknowledge data, however often it was sent again (tcp_retries2)."
timeout_keepalive\:"The peer answered no keepalive probe."
timeout_user\:"The peer was silent for longer than TCP_USER_TIMEOUT."
timeout_probe\:"The peer answered no window probe, or the data could not leave this host."
timeout_fin_wait\:"After our FIN was acknowledged, the peer'\''s never came (tcp_fin_timeout, TCP_LINGER2)."
timeout_orphan\:"After our close, the peer never acknowledged the rest (tcp_orphan_retries)."
connect_refused\:"The peer answered the SYN with a RST\: nothing listens there, or a firewall rejects."
connect_timeout\:"No answer to the SYN (tcp_syn_retries)."
connect_unreachable\:"An ICMP error answered the SYN."
connect_cancelled\:"The process gave up before the connection was established."
oom\:"Out of TCP memory, or too many orphans (tcp_mem, tcp_max_orphans)."
netns_exit\:"The network namespace went away."
unknown\:"The kernel'\''s traces do not say."))' \
'--metrics-listen=[Serve metrics for Prometheus at /metrics of this address, and /healthz]:ADDR:_default' \
'--metrics-max-workloads=[Workloads that metrics name, the first ones; the rest is \`_other\` \[default\: 200\]]:N:_default' \
'--hooks=[Attach by this family of hooks where the kernel leaves a choice \[default\: auto\]]:FAMILY:(auto tp_btf fentry kprobe)' \
'--ring-size=[Buffer between kernel and tracer \[default\: 16M\]]:SIZE:_default' \
'--max-connections=[Connections that can be tracked at a time \[default\: 131072\]]:N:_default' \
'--host-proc=[Where the node'\''s /proc is mounted, for tracing in a container with pids of its own \[default\: /proc\]]:DIR:_files -/' \
'--log-format=[How to write that \[default\: text\]]:FORMAT:(text json)' \
'-w[Text without the limit of 100 columns, with more of them]' \
'--wide[Text without the limit of 100 columns, with more of them]' \
'--ascii[Draw the live view in ASCII, as where the locale is not UTF-8]' \
'--abnormal[Leave out clean closes]' \
'*-v[Say more about what tracer does, on stderr; repeat for still more]' \
'*--verbose[Say more about what tracer does, on stderr; repeat for still more]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'-V[Print version]' \
'--version[Print version]' \
":: :_tracer_commands" \
"*::: :->tracer" \
&& ret=0
    case $state in
    (tracer)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:tracer-command-$line[1]:"
        case $line[1] in
            (demo)
_arguments "${_arguments_options[@]}" : \
'--log-format=[How to write that \[default\: text\]]:FORMAT:(text json)' \
'--part=[The demo starts itself again as the client and as the server]:PART:(client server)' \
'--port=[]:PORT:_default' \
'*-v[Say more about what tracer does, on stderr; repeat for still more]' \
'*--verbose[Say more about what tracer does, on stderr; repeat for still more]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(doctor)
_arguments "${_arguments_options[@]}" : \
'--hooks=[As tracing with this family of hooks does \[default\: auto\]]:FAMILY:(auto tp_btf fentry kprobe)' \
'--log-format=[How to write that \[default\: text\]]:FORMAT:(text json)' \
'--json[One JSON object, verifier logs included]' \
'*-v[Say more about what tracer does, on stderr; repeat for still more]' \
'*--verbose[Say more about what tracer does, on stderr; repeat for still more]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
&& ret=0
;;
(replay)
_arguments "${_arguments_options[@]}" : \
'-o+[How to write events \[default\: auto\]]:FORMAT:(auto tui json text)' \
'--output=[How to write events \[default\: auto\]]:FORMAT:(auto tui json text)' \
'--speed=[How fast\: as it happened, ten times that, or at once \[default\: 1 in the live view, else max\]]:SPEED:(1 10 max)' \
'--fingerprints=[Timeouts of this site, for the live view]:FILE:_files' \
'--history=[Events that the live view keeps \[default\: 10000\]]:N:_default' \
'--theme=[Colours of the live view \[default\: default, or mono with NO_COLOR\]]:THEME:(default colour-blind high-contrast mono)' \
'*--events=[Only these kinds of event]:LIST:(tcp_close tcp_connect_failed tcp_reset tcp_io_error)' \
'*--pid=[Connections that this process owned, by its id outside of any container]:LIST:_default' \
'*--comm=[Connections of processes with exactly this name, as \`ps -o comm\` shows it]:LIST:_command_names -e' \
'*--port=[Connections with this port at either end]:LIST:_default' \
'*--local-port=[Connections with this port at this end]:LIST:_default' \
'*--peer=[Connections whose peer has this address or is in this network]:CIDR:_default' \
'*--container=[Connections of this container\: its name, its id, or the first 6 or more digits of that; \`-\`\: of none]:LIST:_default' \
'*--unit=[Connections of this systemd unit, with its type\: nginx.service]:LIST:_default' \
'*--hint=[Ends that this timeout fits, such as nginx.proxy_read_timeout; \`-\`\: that none fits]:LIST:_default' \
'*--reason=[Ends with this reason, and I/O errors with this culprit]:LIST:((fin_local\:"We closed first\: our FIN began the end."
fin_peer\:"The peer closed first\: its FIN began the end."
fin_both\:"Both ends closed at once\: the FINs crossed."
fin_peer_rst\:"The broken pipe\: the peer closed, we wrote, and the peer answered with a RST."
rst_peer\:"The peer sent a RST."
abort_unread\:"We closed with received data unread, so the kernel sent a RST instead of a FIN."
abort_linger0\:"We closed with SO_LINGER set to 0\: a RST instead of a FIN."
abort_admin\:"An administrator destroyed the socket (\`ss -K\`, SOCK_DESTROY)."
disconnect\:"The process disconnected the socket\: connect(AF_UNSPEC)."
listener_closed\:"The listener was closed before the connection was accepted."
timeout_retrans\:"The peer did not acknowledge data, however often it was sent again (tcp_retries2)."
timeout_keepalive\:"The peer answered no keepalive probe."
timeout_user\:"The peer was silent for longer than TCP_USER_TIMEOUT."
timeout_probe\:"The peer answered no window probe, or the data could not leave this host."
timeout_fin_wait\:"After our FIN was acknowledged, the peer'\''s never came (tcp_fin_timeout, TCP_LINGER2)."
timeout_orphan\:"After our close, the peer never acknowledged the rest (tcp_orphan_retries)."
connect_refused\:"The peer answered the SYN with a RST\: nothing listens there, or a firewall rejects."
connect_timeout\:"No answer to the SYN (tcp_syn_retries)."
connect_unreachable\:"An ICMP error answered the SYN."
connect_cancelled\:"The process gave up before the connection was established."
oom\:"Out of TCP memory, or too many orphans (tcp_mem, tcp_max_orphans)."
netns_exit\:"The network namespace went away."
unknown\:"The kernel'\''s traces do not say."))' \
'--log-format=[How to write that \[default\: text\]]:FORMAT:(text json)' \
'-w[Text without the limit of 100 columns, with more of them]' \
'--wide[Text without the limit of 100 columns, with more of them]' \
'--ascii[Draw the live view in ASCII, as where the locale is not UTF-8]' \
'--abnormal[Leave out clean closes]' \
'*-v[Say more about what tracer does, on stderr; repeat for still more]' \
'*--verbose[Say more about what tracer does, on stderr; repeat for still more]' \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
'*::files -- Recordings made with `-o json`, several are merged by time; `-`\: standard input, also while it grows:_files' \
&& ret=0
;;
(explain)
_arguments "${_arguments_options[@]}" : \
'-h[Print help (see more with '\''--help'\'')]' \
'--help[Print help (see more with '\''--help'\'')]' \
':name -- A value of the keys `reason`, `pattern` or `rst_reason`, or one of `hints`:((fin_local\:"We closed first\: our FIN began the end."
fin_peer\:"The peer closed first\: its FIN began the end."
fin_both\:"Both ends closed at once\: the FINs crossed."
fin_peer_rst\:"The broken pipe\: the peer closed, we wrote, and the peer answered with a RST."
rst_peer\:"The peer sent a RST."
abort_unread\:"We closed with received data unread, so the kernel sent a RST instead of a FIN."
abort_linger0\:"We closed with SO_LINGER set to 0\: a RST instead of a FIN."
abort_admin\:"An administrator destroyed the socket (\`ss -K\`, SOCK_DESTROY)."
disconnect\:"The process disconnected the socket\: connect(AF_UNSPEC)."
listener_closed\:"The listener was closed before the connection was accepted."
timeout_retrans\:"The peer did not acknowledge data, however often it was sent again (tcp_retries2)."
timeout_keepalive\:"The peer answered no keepalive probe."
timeout_user\:"The peer was silent for longer than TCP_USER_TIMEOUT."
timeout_probe\:"The peer answered no window probe, or the data could not leave this host."
timeout_fin_wait\:"After our FIN was acknowledged, the peer'\''s never came (tcp_fin_timeout, TCP_LINGER2)."
timeout_orphan\:"After our close, the peer never acknowledged the rest (tcp_orphan_retries)."
connect_refused\:"The peer answered the SYN with a RST\: nothing listens there, or a firewall rejects."
connect_timeout\:"No answer to the SYN (tcp_syn_retries)."
connect_unreachable\:"An ICMP error answered the SYN."
connect_cancelled\:"The process gave up before the connection was established."
oom\:"Out of TCP memory, or too many orphans (tcp_mem, tcp_max_orphans)."
netns_exit\:"The network namespace went away."
unknown\:"The kernel'\''s traces do not say."
process_exit\:"The process that owned the socket exited, was killed, or had just been told to end."
dead_peer\:"The peer vanished without FIN or RST."
silent_drop\:"A box between the ends forgot the connection after long idleness."
peer_gave_up_waiting\:"The peer hung up while it waited for our answer."
local_gave_up_waiting\:"We hung up while we waited for the peer'\''s answer."
peer_no_answer\:"The peer hung up without answering what we had sent."
local_no_answer\:"We hung up without answering what the peer had sent."
no_request\:"No request was ever sent."
write_after_peer_close\:"We wrote after the peer had closed."
peer_idle_close\:"The peer closed an idle connection."
local_idle_close\:"We closed an idle connection."
max_age\:"The connection reached an age limit."
normal\:"Nothing out of the ordinary."))' \
&& ret=0
;;
(schema)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(gen)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
":: :_tracer__subcmd__gen_commands" \
"*::: :->gen" \
&& ret=0

    case $state in
    (gen)
        words=($line[1] "${words[@]}")
        (( CURRENT += 1 ))
        curcontext="${curcontext%:*:*}:tracer-gen-command-$line[1]:"
        case $line[1] in
            (man)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
(completions)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
':shell:(bash elvish fish powershell zsh)' \
&& ret=0
;;
(config)
_arguments "${_arguments_options[@]}" : \
'-h[Print help]' \
'--help[Print help]' \
&& ret=0
;;
        esac
    ;;
esac
;;
        esac
    ;;
esac
}

(( $+functions[_tracer_commands] )) ||
_tracer_commands() {
    local commands; commands=(
'demo:Break a pipe on loopback and explain its records\: start here' \
'doctor:Say what this kernel offers\: which hook serves each signal, and what cannot be seen' \
'replay:Show recorded events again, with the same outputs and filters' \
'explain:Say what a reason, a pattern or a hint means and what to check next' \
'schema:Print the JSON Schema of the events' \
'gen:Print the man page, shell completions or a configuration file' \
    )
    _describe -t commands 'tracer commands' commands "$@"
}
(( $+functions[_tracer__subcmd__demo_commands] )) ||
_tracer__subcmd__demo_commands() {
    local commands; commands=()
    _describe -t commands 'tracer demo commands' commands "$@"
}
(( $+functions[_tracer__subcmd__doctor_commands] )) ||
_tracer__subcmd__doctor_commands() {
    local commands; commands=()
    _describe -t commands 'tracer doctor commands' commands "$@"
}
(( $+functions[_tracer__subcmd__explain_commands] )) ||
_tracer__subcmd__explain_commands() {
    local commands; commands=()
    _describe -t commands 'tracer explain commands' commands "$@"
}
(( $+functions[_tracer__subcmd__gen_commands] )) ||
_tracer__subcmd__gen_commands() {
    local commands; commands=(
'man:The man page\: tracer gen man > tracer.8' \
'completions:Completions for a shell' \
'config:A complete configuration file in which everything is commented out' \
    )
    _describe -t commands 'tracer gen commands' commands "$@"
}
(( $+functions[_tracer__subcmd__gen__subcmd__completions_commands] )) ||
_tracer__subcmd__gen__subcmd__completions_commands() {
    local commands; commands=()
    _describe -t commands 'tracer gen completions commands' commands "$@"
}
(( $+functions[_tracer__subcmd__gen__subcmd__config_commands] )) ||
_tracer__subcmd__gen__subcmd__config_commands() {
    local commands; commands=()
    _describe -t commands 'tracer gen config commands' commands "$@"
}
(( $+functions[_tracer__subcmd__gen__subcmd__man_commands] )) ||
_tracer__subcmd__gen__subcmd__man_commands() {
    local commands; commands=()
    _describe -t commands 'tracer gen man commands' commands "$@"
}
(( $+functions[_tracer__subcmd__replay_commands] )) ||
_tracer__subcmd__replay_commands() {
    local commands; commands=()
    _describe -t commands 'tracer replay commands' commands "$@"
}
(( $+functions[_tracer__subcmd__schema_commands] )) ||
_tracer__subcmd__schema_commands() {
    local commands; commands=()
    _describe -t commands 'tracer schema commands' commands "$@"
}

if [ "$funcstack[1]" = "_tracer" ]; then
    _tracer "$@"
else
    compdef _tracer tracer
fi
