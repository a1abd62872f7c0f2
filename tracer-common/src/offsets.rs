//! Every kernel field that is read, by name. The daemon resolves the byte offsets from the running
//! kernel's BTF; the kernel side reads through them. A field that a kernel lacks is [`ABSENT`]: the
//! verifier removes its branch and the output is null, never a guess.

/// Offset of a field that this kernel does not have.
pub const ABSENT: u16 = u16::MAX;

macro_rules! offsets {
    ($($name:ident: $strukt:literal . $path:literal,)*) => {
        /// Byte offsets within the struct named in [`FIELDS`].
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Offsets { $(#[doc = concat!("`", $strukt, ".", $path, "`")] pub $name: u16,)* }

        impl Offsets {
            pub const ABSENT: Offsets = Offsets { $($name: ABSENT,)* };

            /// Fills every field with what `find(struct, path)` says.
            pub fn resolve(mut find: impl FnMut(&'static str, &'static str) -> Option<u16>) -> Self {
                Offsets { $($name: find($strukt, $path).unwrap_or(ABSENT),)* }
            }

            /// Names of the fields that were not found.
            pub fn missing(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
                [$((self.$name, ($strukt, $path)),)*]
                    .into_iter()
                    .filter_map(|(offset, field)| (offset == ABSENT).then_some(field))
            }
        }

        #[cfg(feature = "user")]
        // SAFETY: repr(C), u16 only, no padding.
        unsafe impl aya::Pod for Offsets {}
    };
}

offsets! {
    // struct sock and what it embeds
    skc_daddr: "sock_common"."skc_daddr",
    skc_rcv_saddr: "sock_common"."skc_rcv_saddr",
    skc_dport: "sock_common"."skc_dport",
    skc_num: "sock_common"."skc_num",
    skc_family: "sock_common"."skc_family",
    skc_state: "sock_common"."skc_state",
    skc_net: "sock_common"."skc_net.net",
    skc_v6_daddr: "sock_common"."skc_v6_daddr",
    skc_v6_rcv_saddr: "sock_common"."skc_v6_rcv_saddr",
    skc_cookie: "sock_common"."skc_cookie",
    skc_flags: "sock_common"."skc_flags",
    sk_err: "sock"."sk_err",
    sk_err_soft: "sock"."sk_err_soft",
    sk_shutdown: "sock"."sk_shutdown",
    sk_protocol: "sock"."sk_protocol",
    sk_lingertime: "sock"."sk_lingertime",
    sk_socket: "sock"."sk_socket",
    sk_owned: "sock"."sk_lock.owned",
    sk_uid: "sock"."sk_uid",
    sk_max_ack_backlog: "sock"."sk_max_ack_backlog",
    sk_cgroup: "sock"."sk_cgrp_data.cgroup",
    cgroup_kn: "cgroup"."kn",
    kernfs_id: "kernfs_node"."id",
    net_inum: "net"."ns.inum",
    sysctl_retries2: "net"."ipv4.sysctl_tcp_retries2",
    sysctl_keepalive_time: "net"."ipv4.sysctl_tcp_keepalive_time",
    sysctl_keepalive_intvl: "net"."ipv4.sysctl_tcp_keepalive_intvl",
    sysctl_keepalive_probes: "net"."ipv4.sysctl_tcp_keepalive_probes",
    // behind bpf_skc_to_tcp_sock
    inet_sport: "inet_sock"."inet_sport",
    icsk_retransmits: "inet_connection_sock"."icsk_retransmits",
    icsk_probes_out: "inet_connection_sock"."icsk_probes_out",
    icsk_user_timeout: "inet_connection_sock"."icsk_user_timeout",
    icsk_ulp_data: "inet_connection_sock"."icsk_ulp_data",
    lrcvtime: "inet_connection_sock"."icsk_ack.lrcvtime",
    lsndtime: "tcp_sock"."lsndtime",
    rcv_tstamp: "tcp_sock"."rcv_tstamp",
    bytes_acked: "tcp_sock"."bytes_acked",
    bytes_received: "tcp_sock"."bytes_received",
    bytes_sent: "tcp_sock"."bytes_sent",
    bytes_retrans: "tcp_sock"."bytes_retrans",
    snd_una: "tcp_sock"."snd_una",
    snd_nxt: "tcp_sock"."snd_nxt",
    write_seq: "tcp_sock"."write_seq",
    rcv_nxt: "tcp_sock"."rcv_nxt",
    copied_seq: "tcp_sock"."copied_seq",
    snd_wnd: "tcp_sock"."snd_wnd",
    srtt_us: "tcp_sock"."srtt_us",
    total_retrans: "tcp_sock"."total_retrans",
    linger2: "tcp_sock"."linger2",
    is_mptcp: "tcp_sock"."is_mptcp",
    repair: "tcp_sock"."repair",
    tcp_clock_cache: "tcp_sock"."tcp_clock_cache",
    subflow_conn: "mptcp_subflow_context"."conn",
    // the timers of a connection, wherever this kernel has them
    icsk_pending: "inet_connection_sock"."icsk_pending",
    icsk_backoff: "inet_connection_sock"."icsk_backoff",
    icsk_rto: "inet_connection_sock"."icsk_rto",
    icsk_rto_max: "inet_connection_sock"."icsk_rto_max",
    icsk_probes_tstamp: "inet_connection_sock"."icsk_probes_tstamp",
    icsk_timeout: "inet_connection_sock"."icsk_timeout",
    icsk_retransmit_timer: "inet_connection_sock"."icsk_retransmit_timer.expires",
    icsk_keepalive_timer: "inet_connection_sock"."icsk_keepalive_timer.expires",
    sk_timer: "sock"."sk_timer.expires",
    keepalive_time: "tcp_sock"."keepalive_time",
    keepalive_intvl: "tcp_sock"."keepalive_intvl",
    keepalive_probes: "tcp_sock"."keepalive_probes",
    retrans_stamp: "tcp_sock"."retrans_stamp",
    rttvar_us: "tcp_sock"."rttvar_us",
    packets_out: "tcp_sock"."packets_out",
    usec_ts: "tcp_sock"."tcp_usec_ts",
    // tasks and descriptors
    task_group_leader: "task_struct"."group_leader",
    task_flags: "task_struct"."flags",
    task_start_boottime: "task_struct"."start_boottime",
    task_comm: "task_struct"."comm",
    task_tgid: "task_struct"."tgid",
    task_pid: "task_struct"."pid",
    task_exit_code: "task_struct"."exit_code",
    task_files: "task_struct"."files",
    si_code: "kernel_siginfo"."si_code",
    files_fdt: "files_struct"."fdt",
    fdt_fd: "fdtable"."fd",
    file_private_data: "file"."private_data",
    file_inode: "file"."f_inode",
    inode_mode: "inode"."i_mode",
    socket_sk: "socket"."sk",
    // the segment that a RST answers, when there is no socket
    skb_head: "sk_buff"."head",
    skb_network_header: "sk_buff"."network_header",
    skb_transport_header: "sk_buff"."transport_header",
    skb_dev: "sk_buff"."dev",
    dev_net: "net_device"."nd_net.net",
}
