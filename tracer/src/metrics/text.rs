//! The two text forms of metrics: that of Prometheus, which every scraper reads, and OpenMetrics, which has
//! exemplars too.

use std::fmt::{self, Display, Write};

use super::{
    families::{Family, Type},
    histogram::{Exemplar, Histogram, Value},
    tally::Counter,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A page that is being written.
pub struct Text {
    format: Format,
    out: String,
}

/// Samples of a family.
pub struct Samples<'a> {
    text: &'a mut Text,
    family: &'static Family,
}

/// Milliseconds as seconds.
pub struct Seconds(pub u64);

impl Display for Seconds {
    /// With a point, as OpenMetrics wants it of bounds, so that a bound is the same in both forms.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (s, ms) = (self.0 / 1_000, self.0 % 1_000);
        let digits = format!("{ms:03}");
        let digits = digits.trim_end_matches('0');
        write!(f, "{s}.{}", if digits.is_empty() { "0" } else { digits })
    }
}

impl Text {
    pub fn new(format: Format) -> Self {
        let out = String::with_capacity(1 << 17);
        Text { format, out }
    }

    /// Begins a family.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        // OpenMetrics names a counter without its suffix here.
        let name = match self.format {
            Format::OpenMetrics => family.name.strip_suffix("_total").unwrap_or(family.name),
            Format::Prometheus => family.name,
        };
        let Family { kind, help, .. } = family;
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(self.out, "# HELP {name} {help}");
        let _ = writeln!(self.out, "# TYPE {name} {}", kind.as_str());
        Samples { text: self, family }
    }

    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }
}

impl Samples<'_> {
    pub fn value(&mut self, labels: &[&str], value: impl Display) {
        self.sample("", labels, None, value, None);
    }

    pub fn counter(&mut self, labels: &[&str], counter: &Counter) {
        let latest = counter.latest.as_ref();
        self.sample("", labels, None, counter.count, latest);
    }

    pub fn histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        let mut up_to = 0;
        for (bound_ms, bucket) in histogram.buckets() {
            up_to += bucket.count;
            let bound = bound_ms.map_or("+Inf".to_owned(), |ms| Seconds(ms).to_string());
            let latest = bucket.latest.as_ref();
            self.sample("_bucket", labels, Some(&bound), up_to, latest);
        }
        self.sample("_sum", labels, None, Seconds(histogram.sum_ms), None);
        self.sample("_count", labels, None, up_to, None);
    }

    fn sample(
        &mut self,
        suffix: &str,
        labels: &[&str],
        le: Option<&str>,
        value: impl Display,
        exemplar: Option<&Exemplar>,
    ) {
        debug_assert_eq!(labels.len(), self.family.labels.len());
        debug_assert!(exemplar.is_none() || self.family.kind != Type::Gauge);
        let out = &mut self.text.out;
        out.push_str(self.family.name);
        out.push_str(suffix);
        let names = self.family.labels.iter().copied();
        let labels = names.zip(labels.iter().copied());
        for (number, (name, value)) in labels.chain(le.map(|le| ("le", le))).enumerate() {
            out.push(if number == 0 { '{' } else { ',' });
            out.push_str(name);
            out.push_str("=\"");
            escape(value, out);
            out.push('"');
        }
        if le.is_some() || !self.family.labels.is_empty() {
            out.push('}');
        }
        let _ = write!(out, " {value}");
        if let (Format::OpenMetrics, Some(exemplar)) = (self.text.format, exemplar) {
            put_exemplar(exemplar, out);
        }
        out.push('\n');
    }
}

fn put_exemplar(exemplar: &Exemplar, out: &mut String) {
    let Exemplar { conn, at, value } = exemplar;
    let at = Seconds(at.0 / 1_000_000);
    let _ = match value {
        Value::One => write!(out, " # {{conn=\"{conn}\"}} 1.0 {at}"),
        Value::Ms(ms) => write!(out, " # {{conn=\"{conn}\"}} {} {at}", Seconds(*ms)),
    };
}

fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        match c {
            '\\' => out.push_str(r"\\"),
            '"' => out.push_str(r#"\""#),
            '\n' => out.push_str(r"\n"),
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::sample, event::time::Timestamp, metrics::families};

    fn written(format: Format, write: impl FnOnce(&mut Text)) -> String {
        let mut text = Text::new(format);
        write(&mut text);
        text.finish()
    }

    fn counter(text: &mut Text) {
        let latest = Exemplar {
            conn: sample::conn(0xa1),
            at: Timestamp(1_795_177_416_123_456_789),
            value: Value::One,
        };
        let counter = Counter {
            count: 3,
            latest: Some(latest),
        };
        text.family(&families::CONNECT_FAILURES)
            .counter(&["connect_refused"], &counter);
    }

    #[test]
    fn a_counter_in_both_forms() {
        let help = "Connects that ended without being established.";
        assert_eq!(
            written(Format::Prometheus, counter),
            format!(
                "# HELP tracer_connect_failures_total {help}\n\
                 # TYPE tracer_connect_failures_total counter\n\
                 tracer_connect_failures_total{{reason=\"connect_refused\"}} 3\n"
            )
        );
        assert_eq!(
            written(Format::OpenMetrics, counter),
            format!(
                "# HELP tracer_connect_failures {help}\n\
                 # TYPE tracer_connect_failures counter\n\
                 tracer_connect_failures_total{{reason=\"connect_refused\"}} 3 \
                 # {{conn=\"4b2d0c7e-00000000000000a1\"}} 1.0 1795177416.123\n\
                 # EOF\n"
            )
        );
    }

    #[test]
    fn a_histogram_adds_up() {
        static BOUNDS: &[u64] = &[500, 60_000];
        let mut histogram = Histogram::new(BOUNDS);
        for ms in [20, 500, 60_001] {
            histogram.observe(ms, None, Timestamp(0));
        }
        let text = written(Format::Prometheus, |text| {
            text.family(&families::AGE)
                .histogram(&["ok", "client"], &histogram);
        });
        let samples: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                r#"tracer_connection_age_seconds_bucket{reason_class="ok",role="client",le="0.5"} 2"#,
                r#"tracer_connection_age_seconds_bucket{reason_class="ok",role="client",le="60.0"} 2"#,
                r#"tracer_connection_age_seconds_bucket{reason_class="ok",role="client",le="+Inf"} 3"#,
                r#"tracer_connection_age_seconds_sum{reason_class="ok",role="client"} 60.521"#,
                r#"tracer_connection_age_seconds_count{reason_class="ok",role="client"} 3"#,
            ]
        );
    }

    #[test]
    fn names_cannot_leave_their_quotes() {
        let text = written(Format::Prometheus, |text| {
            text.family(&families::CONNECT_FAILURES)
                .value(&["a\"} 5\n\\"], 1);
        });
        assert!(
            text.ends_with("tracer_connect_failures_total{reason=\"a\\\"} 5\\n\\\\\"} 1\n"),
            "{text}"
        );
    }

    #[test]
    fn without_labels_there_are_no_braces() {
        let text = written(Format::OpenMetrics, |text| {
            text.family(&families::CPU_SECONDS)
                .value(&[], Seconds(1_250));
        });
        assert!(
            text.contains("\nprocess_cpu_seconds_total 1.25\n"),
            "{text}"
        );
    }
}
