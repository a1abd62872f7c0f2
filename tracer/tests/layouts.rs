//! What is read from kernels' types: offsets, numbers of arguments, and by that the hooks to try. No kernel is asked:
//! `btf/` has the types of several, cut down to what tracer looks at. `btf/README.md` says how to add one.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

use tracer::kernel::{
    btf::Btf,
    hooks::{At, Family, SIGNALS},
    layout::Layout,
};
use tracer_common::offsets::Offsets;

const JIFFY_NS: u64 = 4_000_000;

/// What is true of a kernel, by bpftool and by its source.
struct Truth {
    file: &'static str,
    /// Byte offset of tcp_sock.bytes_acked.
    bytes_acked: u16,
    has_rst_reason: bool,
    has_socket_cookie: bool,
    has_task_btf: bool,
    preemptible_tracepoints: bool,
    /// Signals that the first choice does not serve, and what does.
    instead: &'static [(&'static str, &'static str)],
}

const SENDS: &str = "fexit:inet_sendmsg+inet6_sendmsg+inet_sendpage";
const RECEIVES: &str = "fexit:inet_recvmsg+inet6_recvmsg";
const RESETS: &str = "fentry:tcp_v4_send_reset+tcp_v6_send_reset";
const OOM: &str = "fexit:tcp_check_oom";

const TRUTHS: &[Truth] = &[
    Truth {
        file: "5.10.262.btf",
        bytes_acked: 1456,
        has_rst_reason: false,
        has_socket_cookie: false,
        has_task_btf: false,
        preemptible_tracepoints: false,
        instead: &[
            ("rst_sent_without_socket", RESETS),
            ("icmp_error", "fentry:sock_def_error_report"),
            ("write_error", SENDS),
            ("read_error", RECEIVES),
            ("oom", OOM),
        ],
    },
    Truth {
        file: "6.1.192.btf",
        bytes_acked: 1496,
        has_rst_reason: false,
        has_socket_cookie: true,
        has_task_btf: true,
        preemptible_tracepoints: false,
        instead: &[
            ("rst_sent_without_socket", RESETS),
            ("write_error", SENDS),
            ("read_error", RECEIVES),
            ("oom", OOM),
        ],
    },
    Truth {
        file: "6.12.118.btf",
        bytes_acked: 1840,
        ..LATE
    },
    Truth {
        file: "6.18.15.btf",
        bytes_acked: 1816,
        ..LATE
    },
    // Another build of the same version: that is why nothing is compiled in.
    Truth {
        file: "6.18.44.btf",
        bytes_acked: 1824,
        ..LATE
    },
    Truth {
        file: "7.3.4.btf",
        bytes_acked: 1608,
        preemptible_tracepoints: true,
        ..LATE
    },
];

const LATE: Truth = Truth {
    file: "",
    bytes_acked: 0,
    has_rst_reason: true,
    has_socket_cookie: true,
    has_task_btf: true,
    preemptible_tracepoints: false,
    instead: &[],
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/btf")
}

#[test]
fn every_kernel_gives_what_its_records_need() {
    for truth in TRUTHS {
        let bytes = fs::read(folder().join(truth.file)).expect(truth.file);
        let btf = Btf::parse(&bytes).expect(truth.file);
        let layout = Layout::resolve(&btf, JIFFY_NS).expect(truth.file);
        let found = (
            layout.offsets.bytes_acked,
            layout.config.has_rst_reason != 0,
            layout.config.has_socket_cookie != 0,
            layout.config.has_task_btf != 0,
            btf.preemptible_tracepoints(),
        );
        let due = (
            truth.bytes_acked,
            truth.has_rst_reason,
            truth.has_socket_cookie,
            truth.has_task_btf,
            truth.preemptible_tracepoints,
        );
        assert_eq!(found, due, "{}", truth.file);
        // The same in all of them.
        let offsets = layout.offsets;
        assert_eq!((offsets.skc_state, offsets.skc_cookie), (18, 88));
        let reason = layout.rst_reasons.name(9);
        let due = truth.has_rst_reason.then_some("tcp_timewait_socket");
        assert_eq!(reason, due, "{}", truth.file);
    }
}

#[test]
fn every_reason_of_a_rst_is_explained() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rst-reasons.md");
    let page = fs::read_to_string(page).expect("docs/rst-reasons.md");
    for truth in TRUTHS.iter().filter(|truth| truth.has_rst_reason) {
        let bytes = fs::read(folder().join(truth.file)).expect(truth.file);
        let btf = Btf::parse(&bytes).expect(truth.file);
        let reasons = Layout::resolve(&btf, JIFFY_NS)
            .expect(truth.file)
            .rst_reasons;
        let names = (0..256).filter_map(|value| reasons.name(value));
        let names: Vec<&str> = names.filter(|name| *name != "max").collect();
        assert!(names.len() >= 25, "{}: {names:?}", truth.file);
        for name in names {
            let row = format!("\n| `{name}` | ");
            assert!(page.contains(&row), "{name} of {}", truth.file);
        }
    }
}

/// The first way for which the kernel has everything.
#[test]
fn every_signal_has_a_hook_in_every_kernel() {
    for truth in TRUTHS {
        let bytes = fs::read(folder().join(truth.file)).expect(truth.file);
        let btf = Btf::parse(&bytes).expect(truth.file);
        for signal in &SIGNALS {
            let mut ways = signal.ways(None);
            let first = ways.next().expect("a way").to_string();
            let chosen = signal
                .ways(None)
                .find(|way| way.absence(&btf).is_none())
                .map(ToString::to_string);
            let instead = truth.instead.iter().find(|(name, _)| *name == signal.name);
            let due = instead.map_or(first, |(_, hook)| (*hook).to_owned());
            assert_eq!(chosen, Some(due), "{} of {}", signal.name, truth.file);
        }
    }
}

/// Without trampolines and types nothing is blind either.
#[test]
fn every_signal_has_a_hook_of_the_kprobe_family() {
    for truth in TRUTHS {
        let bytes = fs::read(folder().join(truth.file)).expect(truth.file);
        let btf = Btf::parse(&bytes).expect(truth.file);
        for signal in &SIGNALS {
            let mut ways = signal.ways(Some(Family::Kprobe));
            let way = ways.find(|way| way.absence(&btf).is_none());
            let way = way.unwrap_or_else(|| panic!("{} of {}", signal.name, truth.file));
            assert_eq!(way.family, Family::Kprobe, "{}", signal.name);
        }
    }
}

/// The function that accept returns through has its socket where its arguments end.
#[test]
fn the_way_of_accept_goes_by_its_arguments() {
    for (file, program) in [
        ("6.1.192.btf", "csk_accept"),
        ("6.12.118.btf", "csk_accept_arg"),
    ] {
        let bytes = fs::read(folder().join(file)).expect(file);
        let btf = Btf::parse(&bytes).expect(file);
        let accept = SIGNALS.iter().find(|signal| signal.name == "accept");
        let fits: Vec<&str> = accept
            .expect("a signal")
            .ways(None)
            .flat_map(|way| way.parts)
            .filter(|part| matches!(part.at, At::Fexit(..)) && part.at.absence(&btf).is_none())
            .map(|part| part.program)
            .collect();
        assert_eq!(fits, [program], "{file}");
    }
}

/// Which kernel is served by what: the part of docs/kernels.md between its marks.
#[test]
fn the_table_of_hooks_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/kernels.md");
    let page = fs::read_to_string(&path).expect("docs/kernels.md");
    let due = with_table(&page, "hooks", None);
    let due = with_table(&due, "kprobe", Some(Family::Kprobe));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &due).expect("docs/kernels.md can be written");
    } else {
        assert!(
            page == due,
            "docs/kernels.md is out of date: UPDATE_DOCS=1 cargo test --package tracer --test layouts"
        );
    }
}

fn with_table(page: &str, name: &str, family: Option<Family>) -> String {
    const END: &str = "<!-- end -->\n";
    let begin = format!("<!-- {name}: made by tests/layouts.rs -->\n");
    let (before, rest) = page.split_once(&begin).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where the table ends");
    format!("{before}{begin}{}{END}{after}", table(family))
}

fn table(family: Option<Family>) -> String {
    let kernels: Vec<(&str, Vec<u8>)> = TRUTHS
        .iter()
        .map(|truth| {
            let bytes = fs::read(folder().join(truth.file)).expect(truth.file);
            (truth.file.trim_end_matches(".btf"), bytes)
        })
        .collect();
    let mut out = String::from("| signal |");
    for (kernel, _) in &kernels {
        out += &format!(" {kernel} |");
    }
    out += &format!("\n|---|{}\n", "---|".repeat(kernels.len()));
    for signal in &SIGNALS {
        out += &format!("| `{}` |", signal.name);
        let mut last = String::new();
        for (kernel, bytes) in &kernels {
            let btf = Btf::parse(bytes).expect(kernel);
            let way = signal.ways(family).find(|way| way.absence(&btf).is_none());
            let hook = way.map_or_else(|| "none".to_owned(), |way| format!("`{way}`"));
            out += &if hook == last {
                " = |".to_owned()
            } else {
                format!(" {hook} |")
            };
            last = hook;
        }
        out += "\n";
    }
    out
}

/// Not a test: makes `btf/NAME.btf` of `RAW_BTF=FILE FIXTURE=NAME`.
#[test]
#[ignore = "makes a fixture: see tests/btf/README.md"]
fn make_a_fixture() {
    let from = std::env::var_os("RAW_BTF").expect("RAW_BTF names a file of BTF");
    let name = std::env::var("FIXTURE").expect("FIXTURE names the kernel");
    let bytes = fs::read(&from).expect("RAW_BTF can be read");
    let small = Pruner::new(&bytes).prune();
    let to = folder().join(format!("{name}.btf"));
    fs::write(&to, &small).expect("the folder of fixtures");
    println!("{}: {} bytes of {}", to.display(), small.len(), bytes.len());
}

/// Looked at beside the offsets (layout.rs).
const MORE_MEMBERS: &[&str] = &["repair", "tcp_usec_ts"];
const MORE_FUNCTIONS: &[&str] = &["bpf_get_socket_ptr_cookie", "bpf_get_current_task_btf"];
const MORE_TRACEPOINTS: &[&str] = &["mark_victim"];
const MORE_TYPEDEFS: &[&str] = &["class_srcu_fast_notrace_t"];
const ENUMS: &[&str] = &["sk_rst_reason"];

/// Copies the types that tracer looks at: of structs the members that it names and their sizes, of functions and
/// tracepoints the number of arguments.
struct Pruner<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
    members: BTreeSet<String>,
    out: Vec<u8>,
    count: u32,
    out_strings: Vec<u8>,
    done: HashMap<u32, u32>,
}

#[derive(Clone, Copy)]
struct Type<'a> {
    name: u32,
    info: u32,
    size_or_type: u32,
    tail: &'a [u8],
}

impl Type<'_> {
    fn kind(self) -> u32 {
        self.info >> 24 & 0x1f
    }
}

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VLEN: u32 = 0xffff;

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl<'a> Pruner<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let header = word(bytes, 4) as usize;
        let part = |at: usize| {
            let start = header + word(bytes, at) as usize;
            &bytes[start..start + word(bytes, at + 4) as usize]
        };
        let (all, strings) = (part(8), part(16));
        let void = Type {
            name: 0,
            info: 0,
            size_or_type: 0,
            tail: &[],
        };
        let (mut types, mut at) = (vec![void], 0);
        while at < all.len() {
            let info = word(all, at + 4);
            let vlen = (info & VLEN) as usize;
            let tail = match info >> 24 & 0x1f {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => vlen * 12,
                6 | 13 => vlen * 8,
                _ => 0,
            };
            types.push(Type {
                name: word(all, at),
                info,
                size_or_type: word(all, at + 8),
                tail: &all[at + 12..at + 12 + tail],
            });
            at += 12 + tail;
        }
        let mut members: BTreeSet<String> = MORE_MEMBERS.iter().map(ToString::to_string).collect();
        Offsets::resolve(|_, path| {
            members.extend(path.split('.').map(str::to_owned));
            None
        });
        Pruner {
            types,
            strings,
            members,
            out: Vec::new(),
            count: 0,
            out_strings: vec![0],
            done: HashMap::new(),
        }
    }

    fn prune(mut self) -> Vec<u8> {
        let mut structs = BTreeSet::new();
        Offsets::resolve(|strukt, _| {
            structs.insert(strukt);
            None
        });
        let mut functions: BTreeSet<&str> = MORE_FUNCTIONS.iter().copied().collect();
        let mut tracepoints: BTreeSet<&str> = MORE_TRACEPOINTS.iter().copied().collect();
        for way in SIGNALS.iter().flat_map(|signal| signal.ways(None)) {
            for part in way.parts {
                match part.at {
                    At::TpBtf(name) | At::RawTp(name) | At::Again(name) | At::WithArgs(name, _) => {
                        tracepoints.insert(name)
                    }
                    At::Fentry(name)
                    | At::Fexit(name, _)
                    | At::Kprobe(name)
                    | At::Kretprobe(name, _) => functions.insert(name),
                    At::Tracepoint(..) => false,
                };
            }
        }
        let typedefs: BTreeSet<String> = tracepoints
            .iter()
            .map(|name| format!("btf_trace_{name}"))
            .chain(MORE_TYPEDEFS.iter().map(ToString::to_string))
            .collect();
        for id in 1..self.types.len() as u32 {
            let ty = self.types[id as usize];
            let name = self.text(ty.name);
            let wanted = match ty.kind() {
                STRUCT => structs.contains(&*name),
                ENUM => ENUMS.contains(&&*name),
                TYPEDEF => typedefs.contains(&name),
                FUNC => functions.contains(&*name),
                _ => false,
            };
            if wanted {
                self.copy(id, true);
            }
        }
        let mut bytes = Vec::new();
        let lengths = [self.out.len() as u32, self.out_strings.len() as u32];
        // Magic number, version 1, no flags; then the two sections.
        for value in [0x0001_eb9f, 24, 0, lengths[0], lengths[0], lengths[1]] {
            bytes.extend_from_slice(&u32::to_ne_bytes(value));
        }
        bytes.extend(self.out);
        bytes.extend(self.out_strings);
        bytes
    }

    fn text(&self, at: u32) -> String {
        let rest = &self.strings[at as usize..];
        let end = rest.iter().position(|byte| *byte == 0).expect("an end");
        String::from_utf8_lossy(&rest[..end]).into_owned()
    }

    fn keep(&mut self, at: u32) -> u32 {
        if at == 0 {
            return 0;
        }
        let text = self.text(at);
        let place = self.out_strings.len() as u32;
        self.out_strings.extend_from_slice(text.as_bytes());
        self.out_strings.push(0);
        place
    }

    /// `whole`: an enum with its values.
    fn copy(&mut self, id: u32, whole: bool) -> u32 {
        if id == 0 {
            return 0;
        }
        if let Some(done) = self.done.get(&id) {
            return *done;
        }
        let ty = self.types[id as usize];
        let (mut info, mut size_or_type, mut tail) = (ty.info, ty.size_or_type, ty.tail.to_vec());
        match ty.kind() {
            STRUCT | UNION => {
                tail.clear();
                for member in ty.tail.chunks(12) {
                    let (name, inner) = (word(member, 0), word(member, 4));
                    if !self.members.contains(&self.text(name)) && (name != 0 || !self.holds(inner))
                    {
                        continue;
                    }
                    let (name, inner) = (self.keep(name), self.copy(inner, false));
                    for value in [name, inner, word(member, 8)] {
                        tail.extend_from_slice(&value.to_ne_bytes());
                    }
                }
                info = info & !VLEN | (tail.len() / 12) as u32;
            }
            // What they point to or hold is not looked at, but the arguments of a tracepoint.
            PTR => {
                let target = self.types[size_or_type as usize];
                let is_function = target.kind() == FUNC_PROTO;
                size_or_type = if is_function {
                    self.copy(size_or_type, false)
                } else {
                    0
                };
            }
            ARRAY => tail[..8].fill(0),
            FUNC_PROTO => {
                size_or_type = 0;
                tail.fill(0);
            }
            INT => {}
            _ if whole && ty.kind() == ENUM => {
                for value in tail.chunks_mut(8) {
                    let name = self.keep(word(value, 0));
                    value[..4].copy_from_slice(&name.to_ne_bytes());
                }
            }
            ENUM | 19 => {
                tail.clear();
                info &= !VLEN;
            }
            _ => size_or_type = self.copy(size_or_type, false),
        }
        let name = match ty.kind() {
            STRUCT | TYPEDEF | FUNC => self.keep(ty.name),
            ENUM if whole => self.keep(ty.name),
            INT => self.keep(ty.name),
            _ => 0,
        };
        for value in [name, info, size_or_type] {
            self.out.extend_from_slice(&value.to_ne_bytes());
        }
        self.out.extend(tail);
        self.count += 1;
        self.done.insert(id, self.count);
        self.count
    }

    /// Whether an unnamed member has anything of interest in it.
    fn holds(&self, id: u32) -> bool {
        let ty = self.types[id as usize];
        match ty.kind() {
            STRUCT | UNION => ty.tail.chunks(12).any(|member| {
                let name = word(member, 0);
                self.members.contains(&self.text(name))
                    || (name == 0 && self.holds(word(member, 4)))
            }),
            8..=11 | 18 => self.holds(ty.size_or_type),
            _ => false,
        }
    }
}
