//! Every signal of the kernel that a record is made of, and the hooks that can bring it: the best
//! first. Which one serves is found at start, by really loading and attaching.

use std::fmt;

use super::btf::Btf;

/// Something that happens in the kernel, and what is blind without it.
pub struct Signal {
    /// As `start` names it.
    pub name: &'static str,
    /// `None`: tracing is impossible without it.
    pub blind: Option<&'static str>,
    ways: &'static [Way],
}

/// A kind of hooks that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Tracepoints: with the kernel's types where it has those for them, else plain.
    TpBtf,
    /// Trampolines at functions.
    Fentry,
    /// Breakpoints at functions, and tracepoints without the kernel's types.
    Kprobe,
}

/// One hook for a signal: several programs where one function does not see it all.
pub struct Way {
    pub family: Family,
    pub parts: &'static [Part],
}

pub struct Part {
    /// Its name in the object file.
    pub program: &'static str,
    pub at: At,
    /// A kernel that has no such function, or needs no such program, does without.
    pub optional: bool,
}

/// Where a program is attached.
#[derive(Clone, Copy)]
pub enum At {
    TpBtf(&'static str),
    /// Group and name.
    Tracepoint(&'static str, &'static str),
    Fentry(&'static str),
    /// A function and how many arguments it has: what it returns is read behind them.
    Fexit(&'static str, usize),
    RawTp(&'static str),
    /// The same tracepoint as the part before, for what that program's skipped runs have left undone; where
    /// a tracepoint can be preempted (7.0).
    Again(&'static str),
    Kprobe(&'static str),
    /// A function, and the program at its entry that keeps what it was called with.
    Kretprobe(&'static str, Option<&'static str>),
    /// A tracepoint that another signal's program is attached to tells this too when it has that
    /// many arguments.
    WithArgs(&'static str, usize),
}

const fn part(program: &'static str, at: At) -> Part {
    Part {
        program,
        at,
        optional: false,
    }
}

const fn again(program: &'static str, tracepoint: &'static str) -> Part {
    Part {
        program,
        at: At::Again(tracepoint),
        optional: true,
    }
}

const fn tracepoint(parts: &'static [Part]) -> Way {
    Way {
        family: Family::TpBtf,
        parts,
    }
}

const fn functions(parts: &'static [Part]) -> Way {
    Way {
        family: Family::Fentry,
        parts,
    }
}

const fn returns(program: &'static str, function: &'static str, entry: &'static str) -> Part {
    part(program, At::Kretprobe(function, Some(entry)))
}

const fn probes(parts: &'static [Part]) -> Way {
    Way {
        family: Family::Kprobe,
        parts,
    }
}

pub const SIGNALS: [Signal; 13] = [
    Signal {
        name: "socket_end",
        blind: None,
        ways: &[
            tracepoint(&[part("destroy_sock", At::TpBtf("tcp_destroy_sock"))]),
            probes(&[part("raw_destroy_sock", At::RawTp("tcp_destroy_sock"))]),
        ],
    },
    Signal {
        name: "rst_sent",
        blind: Some("RSTs that this node sends"),
        ways: &[
            tracepoint(&[part("send_reset", At::TpBtf("tcp_send_reset"))]),
            probes(&[part("raw_send_reset", At::RawTp("tcp_send_reset"))]),
        ],
    },
    Signal {
        name: "rst_sent_without_socket",
        blind: Some("RSTs that this node sends for closed ports and for sockets in TIME_WAIT"),
        ways: &[
            tracepoint(&[part("send_reset", At::WithArgs("tcp_send_reset", 3))]),
            functions(&[
                part("v4_send_reset", At::Fentry("tcp_v4_send_reset")),
                part("v6_send_reset", At::Fentry("tcp_v6_send_reset")),
            ]),
            probes(&[part("raw_send_reset", At::WithArgs("tcp_send_reset", 3))]),
            probes(&[
                part("probe_send_reset", At::Kprobe("tcp_v4_send_reset")),
                part("probe_send_reset", At::Kprobe("tcp_v6_send_reset")),
            ]),
        ],
    },
    Signal {
        name: "rst_received",
        blind: Some("RSTs that this node receives"),
        ways: &[
            tracepoint(&[part("receive_reset", At::TpBtf("tcp_receive_reset"))]),
            probes(&[part("raw_receive_reset", At::RawTp("tcp_receive_reset"))]),
        ],
    },
    Signal {
        name: "icmp_error",
        blind: Some("ICMP errors that a process consumes before it closes"),
        ways: &[
            tracepoint(&[part("error_report", At::TpBtf("inet_sk_error_report"))]),
            functions(&[part(
                "error_report_call",
                At::Fentry("sock_def_error_report"),
            )]),
            probes(&[part("raw_error_report", At::RawTp("inet_sk_error_report"))]),
            probes(&[part(
                "probe_error_report",
                At::Kprobe("sock_def_error_report"),
            )]),
        ],
    },
    Signal {
        name: "signal",
        blind: Some("SIGPIPE, and who killed a process"),
        ways: &[
            tracepoint(&[part("signal_generate", At::TpBtf("signal_generate"))]),
            probes(&[part("raw_signal_generate", At::RawTp("signal_generate"))]),
        ],
    },
    Signal {
        name: "oom_kill",
        blind: Some("whether a process was killed for want of memory"),
        ways: &[
            tracepoint(&[part("mark_victim", At::TpBtf("mark_victim"))]),
            probes(&[part("raw_mark_victim", At::RawTp("mark_victim"))]),
        ],
    },
    Signal {
        name: "process_name",
        blind: Some("new names of processes between their connect or accept and the end"),
        ways: &[
            tracepoint(&[part("task_rename", At::TpBtf("task_rename"))]),
            probes(&[part("raw_task_rename", At::RawTp("task_rename"))]),
        ],
    },
    Signal {
        name: "write_error",
        blind: Some("errors of sends, and owners that only send"),
        ways: &[
            tracepoint(&[part("send_length", At::TpBtf("sock_send_length"))]),
            functions(&[
                part("inet_sendmsg", At::Fexit("inet_sendmsg", 3)),
                part("inet6_sendmsg", At::Fexit("inet6_sendmsg", 3)),
                Part {
                    program: "inet_sendpage",
                    at: At::Fexit("inet_sendpage", 5),
                    optional: true,
                },
            ]),
            probes(&[
                returns("probe_sent", "inet_sendmsg", "probe_send"),
                returns("probe_sent", "inet6_sendmsg", "probe_send"),
                Part {
                    optional: true,
                    ..returns("probe_sent", "inet_sendpage", "probe_send")
                },
            ]),
        ],
    },
    Signal {
        name: "read_error",
        blind: Some("errors of receives, and owners that only receive"),
        ways: &[
            tracepoint(&[part("recv_length", At::TpBtf("sock_recv_length"))]),
            functions(&[
                part("inet_recvmsg", At::Fexit("inet_recvmsg", 4)),
                part("inet6_recvmsg", At::Fexit("inet6_recvmsg", 4)),
            ]),
            probes(&[
                returns("probe_received", "inet_recvmsg", "probe_recv"),
                returns("probe_received", "inet6_recvmsg", "probe_recv"),
            ]),
        ],
    },
    Signal {
        name: "accept",
        blind: Some("owners of accepted sockets before their first send or receive"),
        ways: &[
            functions(&[part("csk_accept_arg", At::Fexit("inet_csk_accept", 2))]),
            functions(&[part("csk_accept", At::Fexit("inet_csk_accept", 4))]),
            probes(&[part("probe_accept", At::Kretprobe("inet_csk_accept", None))]),
            // Last: while a tracepoint of a call is on, every call of every process takes the kernel's slow way.
            tracepoint(&[
                part("exit_accept", At::Tracepoint("syscalls", "sys_exit_accept")),
                part(
                    "exit_accept4",
                    At::Tracepoint("syscalls", "sys_exit_accept4"),
                ),
            ]),
        ],
    },
    Signal {
        name: "oom",
        blind: Some("that a connection ended for too many orphans or too little memory"),
        ways: &[
            tracepoint(&[part("send_reset", At::WithArgs("tcp_send_reset", 3))]),
            functions(&[part("check_oom", At::Fexit("tcp_check_oom", 2))]),
            probes(&[part("raw_send_reset", At::WithArgs("tcp_send_reset", 3))]),
            probes(&[returns(
                "probe_checked_oom",
                "tcp_check_oom",
                "probe_check_oom",
            )]),
        ],
    },
    // Last: from here on ends are told, and everything that explains them is in place.
    Signal {
        name: "state",
        blind: None,
        ways: &[
            tracepoint(&[
                part("set_state", At::TpBtf("inet_sock_set_state")),
                again("set_state_again", "inet_sock_set_state"),
            ]),
            probes(&[
                part("raw_set_state", At::RawTp("inet_sock_set_state")),
                again("raw_set_state_again", "inet_sock_set_state"),
            ]),
        ],
    },
];

impl Signal {
    /// The ways to try: those of the family that was asked for, where it has any for this signal.
    /// What another signal's program may tell anyway leaves no choice.
    pub fn ways(&self, family: Option<Family>) -> impl Iterator<Item = &'static Way> {
        let told_anyway = |way: &Way| matches!(way.parts[0].at, At::WithArgs(..));
        let has_it = family == Some(Family::Kprobe)
            || !self.ways.iter().any(told_anyway)
                && self.ways.iter().any(|way| Some(way.family) == family);
        self.ways.iter().filter(move |way| {
            if has_it {
                Some(way.family) == family
            } else {
                !way.is_raw()
            }
        })
    }
}

impl Way {
    /// A tracepoint without types: only when it is asked for. Every kernel with BTF has the better one, and
    /// connections have numbers of another kind there.
    fn is_raw(&self) -> bool {
        self.family == Family::Kprobe && matches!(self.parts[0].at, At::RawTp(_) | At::WithArgs(..))
    }

    /// The parts that this kernel needs.
    pub fn needed<'a>(&'a self, types: &'a Btf<'_>) -> impl Iterator<Item = &'a Part> {
        self.parts
            .iter()
            .filter(|part| !part.optional || part.at.absence(types).is_none())
    }

    /// Why it cannot be had in a kernel of these types.
    pub fn absence(&self, types: &Btf<'_>) -> Option<String> {
        self.needed(types).find_map(|part| part.at.absence(types))
    }
}

impl At {
    /// Why there is nothing to attach to in a kernel of these types.
    pub fn absence(self, types: &Btf<'_>) -> Option<String> {
        match self {
            At::TpBtf(name) | At::RawTp(name) => types
                .tracepoint_args(name)
                .is_none()
                .then(|| "this kernel has no such tracepoint".to_owned()),
            At::Again(_) => (!types.preemptible_tracepoints())
                .then(|| "this kernel's tracepoints are not preempted".to_owned()),
            // tracefs knows, when it is tried.
            At::Tracepoint(..) => None,
            At::Fentry(name) | At::Kprobe(name) | At::Kretprobe(name, _) => types
                .function_args(name)
                .is_none()
                .then(|| format!("this kernel has no function {name}")),
            At::Fexit(name, wanted) => match types.function_args(name) {
                Some(args) if args == wanted => None,
                Some(args) => Some(format!("{name} takes {args} arguments in this kernel")),
                None => Some(format!("this kernel has no function {name}")),
            },
            At::WithArgs(name, wanted) => match types.tracepoint_args(name) {
                Some(args) if args >= wanted => None,
                Some(_) => Some("this kernel traces only those of full sockets".to_owned()),
                None => Some("this kernel has no such tracepoint".to_owned()),
            },
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::TpBtf => "tp_btf",
            Family::Fentry => "fentry",
            Family::Kprobe => "kprobe",
        })
    }
}

/// `fexit:inet_recvmsg+inet6_recvmsg`.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, part) in self.parts.iter().enumerate() {
            let (kind, name) = match part.at {
                At::Again(_) => continue,
                At::WithArgs(name, _) if self.is_raw() => ("raw_tp", name),
                At::TpBtf(name) | At::WithArgs(name, _) => ("tp_btf", name),
                At::RawTp(name) => ("raw_tp", name),
                At::Kprobe(name) => ("kprobe", name),
                At::Kretprobe(name, _) => ("kretprobe", name),
                At::Tracepoint(_, name) => ("tracepoint", name),
                At::Fentry(name) => ("fentry", name),
                At::Fexit(name, _) => ("fexit", name),
            };
            match (number, part.at) {
                (0, At::Tracepoint(group, _)) => write!(f, "{kind}:{group}:{name}")?,
                (0, _) => write!(f, "{kind}:{name}")?,
                _ => write!(f, "+{name}")?,
            }
        }
        Ok(())
    }
}
