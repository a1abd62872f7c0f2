use std::collections::BTreeSet;

use super::*;

const FILE: &str = include_str!("table.toml");

fn site(text: &str) -> Result<Table, Fault> {
    BUILT_IN.clone().with_site(text)
}

#[test]
fn the_file_is_complete_and_sorted() {
    let entries = read::entries(FILE, &[], false).expect("the table can be read");
    assert!(entries.len() >= 100, "{}", entries.len());
    let headers: Vec<_> = FILE.lines().filter(|line| line.starts_with('[')).collect();
    assert_eq!(headers.len(), entries.len());
    assert!(headers.is_sorted(), "not sorted");
    let ids: BTreeSet<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids.len(), entries.len(), "an id twice");
    for entry in &entries {
        let id = &entry.id;
        assert!(
            !entry.what.is_empty() && !entry.what.ends_with('.'),
            "{id}: what"
        );
        assert!(!entry.setting.is_empty(), "{id}: setting");
        assert!(entry.source.starts_with("https://"), "{id}: source");
        assert_eq!(
            entry.late_ms.is_some(),
            !entry.late_why.is_empty(),
            "{id}: late"
        );
        assert!(entry.clocks.iter().count() > 0, "{id}: clock");
        let own = entry.clocks.has(Clock::User);
        assert_eq!(entry.values_ms.is_empty(), own, "{id}: value");
        assert!(entry.values_ms.is_sorted(), "{id}: values not sorted");
        assert!(
            entry.values_ms.len() == 1 || own || !entry.versions.is_empty(),
            "{id}: which of the values is whose"
        );
        for ms in &entry.values_ms {
            assert!((1_000..=432_000_000).contains(ms), "{id}: {ms} ms");
            assert!(
                entry.late_ms.is_none_or(|late_ms| late_ms <= *ms),
                "{id}: late"
            );
        }
        for name in entry.process.iter().chain(&entry.runtime) {
            assert!(
                name.len() <= 15 && name.matches('*').count() <= 1,
                "{id}: {name}"
            );
        }
        // Without names only what is on another node can be it, and the kernel itself.
        let nameless = entry.process.is_empty() && entry.runtime.is_empty();
        assert!(
            !nameless || entry.ports.is_empty(),
            "{id}: ports and no name"
        );
    }
}

#[test]
fn the_defaults_of_the_kernel_are_worked_out_as_the_file_has_them() {
    let here = BUILT_IN.clone().with_node(&Sysctls::default());
    for (id, value_ms, _) in Sysctls::default().timeouts() {
        let file = BUILT_IN.get(id).expect("in the table");
        assert_eq!(file.values_ms, [value_ms], "{id}");
        assert!(here.get(id).is_some_and(|entry| entry.node), "{id}");
    }
    let set = Sysctls {
        retries2: 8,
        ..Sysctls::default()
    };
    let here = BUILT_IN.clone().with_node(&set);
    let retries2 = here.get("linux.tcp_retries2").expect("in the table");
    assert_eq!(retries2.values_ms, [102_200]);
}

#[test]
fn a_site_names_its_own_and_changes_ours() {
    let table = site(
        "checkout-lb = \"45s\"\n\
         nginx.proxy_read_timeout = \"2m\"\n\
         [kong.read_timeout]\nvalue = [\"10s\", \"20s\"]\n\
         [\"edge.waf\"]\nvalue = \"95s\"\nclock = \"waiting\"\ncloser = \"client\"\nhow = \"rst\"\nlate = \"3s\"\n",
    )
    .expect("valid");
    assert_eq!(table.entries().len(), BUILT_IN.entries().len() + 2);
    let entry = |id: &str| table.get(id).expect("in the table");
    assert_eq!(entry("checkout-lb").values_ms, [45_000]);
    assert_eq!(entry("checkout-lb").clocks, Clocks::OF_PROCESSES);
    assert!(entry("checkout-lb").site);
    let nginx = entry("nginx.proxy_read_timeout");
    assert_eq!(nginx.values_ms, [120_000]);
    assert_eq!(nginx.process, ["nginx"], "the rest stays");
    assert!(nginx.clocks.has(Clock::Waiting) && !nginx.clocks.has(Clock::Idle));
    assert_eq!(entry("kong.read_timeout").values_ms, [10_000, 20_000]);
    let waf = entry("edge.waf");
    assert_eq!((waf.how, waf.late_ms), (Some(How::Rst), Some(3_000)));
    assert_eq!(waf.closer, Some(Role::Client));
    // What the node says does not take back what the site says.
    let table = site("linux.tcp_keepalive = \"90s\"").expect("valid");
    let table = table.with_node(&Sysctls::default());
    let keepalive = table.get("linux.tcp_keepalive").expect("in the table");
    assert_eq!(keepalive.values_ms, [90_000]);
}

#[test]
fn faults_name_their_line_and_what_is_accepted() {
    for (text, line, what) in [
        ("\nlb = 45", 2, "lb: expected id = \"45s\""),
        (
            "lb = \"45\"",
            1,
            "lb: value \"45\": expected a number and a unit",
        ),
        ("lb = \"0s\"", 1, "lb: value"),
        ("lb = \"400d\"", 1, "lb: value"),
        ("[lb]\nclock = \"idle\"\n", 1, "lb: no value; expected"),
        (
            "[lb]\nvalue = \"5s\"\nclock = \"rest\"\n",
            1,
            "lb: clock \"rest\": expected any of waiting",
        ),
        (
            "[lb]\nvalue = \"5s\"\ncloser = \"proxy\"\n",
            1,
            "lb: closer \"proxy\": expected server",
        ),
        (
            "[lb]\nvalue = \"5s\"\nhow = \"icmp\"\n",
            1,
            "lb: how \"icmp\": expected fin",
        ),
        ("[lb]\nvalue = \"5s\"\nlate = \"x\"\n", 1, "lb: late \"x\""),
        (
            "[lb]\nvalue = \"5s\"\nvaleu = \"6s\"\n",
            3,
            "lb: unknown field `valeu`",
        ),
        (
            "a = \"5s\"\n[lb]\nvaleu = \"5s\"\n",
            3,
            "lb: unknown field `valeu`",
        ),
        (
            "[lb]\nvalue = 5\n",
            2,
            "lb: expected a string or an array of strings",
        ),
        (
            "[lb]\nvalue = \"5s\"\nport = \"http\"\n",
            3,
            "lb: expected a port",
        ),
        ("\"l b\" = \"5s\"", 1, "l b: expected an id"),
        ("lb = \"5s\"\nlb = \"6s\"\n", 2, "not TOML"),
        ("lb 5s\n", 1, "not TOML"),
    ] {
        let fault = site(text).expect_err(text);
        assert_eq!(fault.line, line, "{text:?}: {fault:?}");
        assert!(fault.what.starts_with(what), "{text:?}: {fault:?}");
    }
}

#[test]
fn values_read_as_they_are_set() {
    for (ms, text) in [
        (150, "150 ms"),
        (1_500, "1.5 s"),
        (60_000, "60 s"),
        (102_200, "102.2 s"),
        (1_005, "1.005 s"),
    ] {
        assert_eq!(Value(ms).to_string(), text);
    }
}
