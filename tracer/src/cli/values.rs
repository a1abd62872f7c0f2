//! The forms of values: each function understands one, and its error says what is accepted.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    str::FromStr,
    time::Duration,
};

use ipnet::{IpNet, Ipv4Net};

use super::settings::{Hooks, LogFormat, Output, Speed, Stories, Theme};
use crate::{
    core::filter::NONE,
    event::values::{Kind, Reason},
};

/// Smallest ring buffer: no page of the supported machines is larger.
const MIN_RING_BYTES: u64 = 64 << 10;
/// Largest: a power of two that a map's size (u32) can hold, and its page count a kernel can give.
const MAX_RING_BYTES: u64 = 1 << 30;
/// Some 200 MiB.
const MAX_HISTORY: usize = 100_000;
/// Some 2 GiB of maps.
const MAX_CONNECTIONS: u32 = 1 << 24;
/// Some 30 series each, in this process and at every scrape.
const MAX_WORKLOADS: usize = 10_000;
/// A year: far more than anyone waits, and far from overflowing a clock.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

const MIN_HEARTBEAT: Duration = Duration::from_millis(100);
/// The kernel keeps no more of a name.
const MAX_COMM_BYTES: usize = 15;

type Parsed<T> = Result<T, String>;

fn number<T: FromStr + PartialOrd>(text: &str, least: T, most: T, form: &str) -> Parsed<T> {
    text.parse()
        .ok()
        .filter(|value| (least..=most).contains(value))
        .ok_or_else(|| form.to_owned())
}

/// `true` or `false`.
pub fn switch(text: &str) -> Parsed<bool> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err("expected true or false (or 1 or 0)".to_owned()),
    }
}

pub fn output(text: &str) -> Parsed<Output> {
    match text {
        "auto" => Ok(Output::Auto),
        "json" => Ok(Output::Json),
        "text" => Ok(Output::Text),
        "tui" => Ok(Output::Tui),
        _ => Err("expected auto, tui, json or text".to_owned()),
    }
}

pub fn speed(text: &str) -> Parsed<Speed> {
    match text {
        "1" => Ok(Speed::Times(1)),
        "10" => Ok(Speed::Times(10)),
        "max" => Ok(Speed::Max),
        _ => Err("expected 1, 10 or max".to_owned()),
    }
}

pub fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("expected text or json".to_owned()),
    }
}

pub fn stories(text: &str) -> Parsed<Stories> {
    match text {
        "abnormal" => Ok(Stories::Abnormal),
        "all" => Ok(Stories::All),
        _ => Err("expected abnormal or all".to_owned()),
    }
}

pub fn hooks(text: &str) -> Parsed<Hooks> {
    match text {
        "auto" => Ok(Hooks::Auto),
        "tp_btf" => Ok(Hooks::TpBtf),
        "fentry" => Ok(Hooks::Fentry),
        "kprobe" => Ok(Hooks::Kprobe),
        _ => Err("expected auto, tp_btf, fentry or kprobe".to_owned()),
    }
}

/// A `tcp_*` event.
pub fn kind(text: &str) -> Parsed<Kind> {
    let kinds = || {
        Kind::ALL
            .iter()
            .filter(|kind| kind.as_str().starts_with("tcp_"))
    };
    let names: Vec<_> = kinds().map(|kind| kind.as_str()).collect();
    let names = names.join(", ");
    if let Some(kind) = kinds().find(|kind| kind.as_str() == text) {
        return Ok(*kind);
    }
    Err(if text.parse::<Kind>().is_ok() {
        format!("tracer's own lines are always written; expected any of {names}")
    } else {
        format!("expected any of {names}")
    })
}

pub fn reason(text: &str) -> Parsed<Reason> {
    text.parse().map_err(|()| {
        let names: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("expected any of {}", names.join(", "))
    })
}

pub fn pid(text: &str) -> Parsed<u32> {
    let form = "expected process ids, such as 812";
    number(text, 1, 1 << 22, form)
}

/// A name that a process can have.
pub fn comm(text: &str) -> Parsed<String> {
    match text.len() {
        0 => Err("expected names of processes, such as nginx".to_owned()),
        1..=MAX_COMM_BYTES => Ok(text.to_owned()),
        _ => Err(format!(
            "the kernel keeps only {MAX_COMM_BYTES} bytes of a process's name, so that this one \
             never occurs; expected what `ps -o comm` shows"
        )),
    }
}

pub fn port(text: &str) -> Parsed<u16> {
    number(text, 1, u16::MAX, "expected ports, 1 to 65535")
}

/// A network or a single address; a v4-mapped one as v4, as the events have it.
pub fn network(text: &str) -> Parsed<IpNet> {
    let net = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(
            |_| "expected an address or a network, such as 10.2.0.7, 10.2.0.0/16 or 2001:db8::/32",
        )?;
    Ok(unmapped(net).trunc())
}

fn unmapped(net: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    let v4 = v6.addr().to_ipv4_mapped();
    v4.zip(v6.prefix_len().checked_sub(MAPPED_BITS))
        .and_then(|(addr, bits)| Ipv4Net::new(addr, bits).ok())
        .map_or(net, IpNet::V4)
}

/// A container's name, or first digits of its id.
pub fn container(text: &str) -> Parsed<String> {
    // As Docker has it; other runtimes allow no more.
    let name = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    let begins = text.starts_with(|first: char| first.is_ascii_alphanumeric());
    if text == NONE || (name && begins && text.len() <= 253) {
        Ok(text.to_owned())
    } else {
        Err("expected names of containers, or their ids, or the first 6 or more hex digits of those".to_owned())
    }
}

/// A timeout of the table, or of the site.
pub fn hint(text: &str) -> Parsed<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err("expected ids of timeouts, such as nginx.proxy_read_timeout".to_owned())
    }
}

pub fn unit(text: &str) -> Parsed<String> {
    let name = text.split_once('.').is_some_and(|(name, kind)| {
        !name.is_empty() && !kind.is_empty() && !text.contains(['/', ' '])
    });
    if name {
        Ok(text.to_owned())
    } else {
        Err("expected systemd units with their type, such as nginx.service".to_owned())
    }
}

pub fn duration(text: &str) -> Parsed<Duration> {
    let form = "expected a number and a unit, such as 1500ms, 30s, 2m or 1h30m, at most 365d";
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(|| form.to_owned())
}

/// Time between two `heartbeat` lines.
pub fn heartbeat(text: &str) -> Parsed<Duration> {
    duration(text)
        .ok()
        .filter(|every| *every >= MIN_HEARTBEAT)
        .ok_or_else(|| "expected a number and a unit, such as 10s or 5m, 100ms at least".to_owned())
}

pub fn count(text: &str) -> Parsed<u64> {
    number(text, 1, u64::MAX, "expected a number of events, 1 or more")
}

/// Bytes of the ring buffer: rounded up to a power of two.
pub fn ring_size(text: &str) -> Parsed<u32> {
    let bytes = size(text).filter(|bytes| *bytes <= MAX_RING_BYTES);
    bytes
        .map(|bytes| bytes.max(MIN_RING_BYTES).next_power_of_two())
        .and_then(|bytes| u32::try_from(bytes).ok())
        .ok_or_else(|| "expected a size, such as 65536, 512K or 64M, at most 1G".to_owned())
}

/// A number, or one with K, M or G in steps of 1024 (`KiB` and the like are understood too).
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return None,
    };
    let number: u64 = number.parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

pub fn max_connections(text: &str) -> Parsed<u32> {
    let form = format!("expected a number of connections, 1 to {MAX_CONNECTIONS}");
    number(text, 1, MAX_CONNECTIONS, &form)
}

/// Where to listen: without an address on loopback only.
pub fn listen(text: &str) -> Parsed<SocketAddr> {
    let alone = text.strip_prefix("localhost:");
    let alone = alone.or_else(|| text.strip_prefix(':')).unwrap_or(text);
    let addr = match alone.parse() {
        Ok(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        Err(_) => text.parse().ok(),
    };
    addr.filter(|addr| addr.port() != 0).ok_or_else(|| {
        "expected an address and a port, such as 127.0.0.1:9435 or [::1]:9435, or a port of 127.0.0.1 alone"
            .to_owned()
    })
}

/// Workloads that metrics name.
pub fn max_workloads(text: &str) -> Parsed<usize> {
    let form = format!("expected a number of workloads, 0 to {MAX_WORKLOADS}");
    number(text, 0, MAX_WORKLOADS, &form)
}

/// Events that the live view keeps.
pub fn history(text: &str) -> Parsed<usize> {
    let form = format!("expected a number of events, 1 to {MAX_HISTORY}");
    number(text, 1, MAX_HISTORY, &form)
}

pub fn theme(text: &str) -> Parsed<Theme> {
    let theme = Theme::ALL.into_iter().find(|theme| theme.name() == text);
    theme.ok_or_else(|| "expected default, colour-blind, high-contrast or mono".to_owned())
}

/// How often `-v` was given.
pub fn verbosity(text: &str) -> Parsed<u8> {
    number(text, 0, u8::MAX, "expected 0 (warnings), 1, 2 or 3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_up_to_a_power_of_two() {
        for (text, bytes) in [
            ("1", 64 << 10),
            ("65536", 64 << 10),
            ("65537", 128 << 10),
            ("512K", 512 << 10),
            ("3M", 4 << 20),
            ("16 MiB", 16 << 20),
            ("64m", 64 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(ring_size(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "0",
            "M",
            "-1",
            "1.5M",
            "16X",
            "1MB",
            "2G",
            "99999999999999999999",
            "16M4",
            "18446744073709551615G",
        ] {
            assert!(ring_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in [
            ("1500ms", 1_500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("1h30m", 5_400_000),
            ("1m 5s", 65_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "0s", "2x", "-1s", "366d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(heartbeat("100ms"), Ok(Duration::from_millis(100)));
        assert!(heartbeat("99ms").is_err() && heartbeat("5").is_err());
    }

    #[test]
    fn networks() {
        for (text, net) in [
            ("10.2.0.7", "10.2.0.7/32"),
            ("10.2.0.7/16", "10.2.0.0/16"),
            ("::1", "::1/128"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:10.2.0.7", "10.2.0.7/32"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(network(text).map(|net| net.to_string()), Ok(net.to_owned()));
        }
        for text in [
            "",
            "10.2",
            "10.0.0.0/33",
            "::1/129",
            "[::1]",
            "example.org",
            "10.0.0.1:80",
        ] {
            assert!(network(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_keep_within_their_bounds() {
        assert_eq!(port("65535"), Ok(65535));
        for text in ["0", "65536", "http", "-1", ""] {
            assert!(port(text).is_err(), "{text}");
        }
        assert_eq!(pid("4194304"), Ok(4_194_304));
        for text in ["0", "4194305", "nginx", ""] {
            assert!(pid(text).is_err(), "{text}");
        }
        assert_eq!(count("1"), Ok(1));
        assert!(count("0").is_err());
        assert_eq!(max_connections("100000"), Ok(100_000));
        assert!(max_connections("0").is_err());
        assert!(max_connections("16777217").is_err());
    }

    #[test]
    fn without_an_address_only_this_machine_can_connect() {
        for (text, addr) in [
            ("9435", "127.0.0.1:9435"),
            (":9435", "127.0.0.1:9435"),
            ("localhost:9435", "127.0.0.1:9435"),
            ("0.0.0.0:9435", "0.0.0.0:9435"),
            ("[::1]:9435", "[::1]:9435"),
            ("10.2.0.7:1", "10.2.0.7:1"),
        ] {
            assert_eq!(
                listen(text).map(|addr| addr.to_string()),
                Ok(addr.to_owned())
            );
        }
        for text in [
            "",
            ":",
            "0",
            ":0",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:0",
            "65536",
            "-1",
            "::1:9435",
            "example.org:9435",
            "http://127.0.0.1:9435",
            "::9435",
            "localhost",
            "localhost:x",
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
        assert_eq!(max_workloads("0"), Ok(0));
        assert!(max_workloads("10001").is_err());
    }

    #[test]
    fn names_that_can_never_occur_are_refused() {
        assert_eq!(comm("fifteen-letters"), Ok("fifteen-letters".to_owned()));
        assert!(comm("sixteen-letters!").is_err());
        assert!(comm("").is_err());
        for text in ["C74B0F", "web", "shop_web-1.2"] {
            assert_eq!(container(text), Ok(text.to_owned()));
        }
        for text in ["/web", "a b", "-web", &"a".repeat(254), ""] {
            assert!(container(text).is_err(), "{text}");
        }
        assert!(unit("nginx.service").is_ok());
        assert!(unit("nginx").is_err());
        assert!(unit("").is_err());
    }

    #[test]
    fn names_of_events_and_reasons_are_those_that_are_written() {
        assert!(kind("heartbeat").is_err_and(|text| text.contains("always written")));
        assert_eq!(kind("tcp_stall"), Ok(Kind::TcpStall));
        assert!(reason("rst").is_err_and(|text| text.contains("rst_peer")));
    }
}
