//! HTTP as far as a scraper needs it: a head of a request in, the head of a response out.

use httparse::{EMPTY_HEADER, Error, Status};

use super::text::Format;

/// Longest head of a request.
pub const HEAD_MAX_BYTES: usize = 8 << 10;

/// Proxies add a few to the five of Prometheus.
const HEADERS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    Metrics(Format),
    Health,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// No HTTP.
    Malformed,
    /// Nothing is there.
    Path,
    /// Neither GET nor HEAD.
    Method,
    TooLong,
    TooSlow,
}

impl Wrong {
    pub const fn status(self) -> &'static str {
        match self {
            Wrong::Malformed => "400 Bad Request",
            Wrong::Path => "404 Not Found",
            Wrong::Method => "405 Method Not Allowed",
            Wrong::TooSlow => "408 Request Timeout",
            Wrong::TooLong => "431 Request Header Fields Too Large",
        }
    }

    pub const fn text(self) -> &'static str {
        match self {
            Wrong::Malformed => "This is no HTTP request.\n",
            Wrong::Path => "There are /metrics and /healthz.\n",
            Wrong::Method => "Only GET and HEAD are answered.\n",
            Wrong::TooSlow => "The request did not come to its end in time.\n",
            Wrong::TooLong => "The request is too long.\n",
        }
    }
}

/// A request whose head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    pub wish: Result<Wish, Wrong>,
    /// HEAD: without a body.
    pub head_only: bool,
}

/// `None`: its head is not complete yet.
pub fn read(bytes: &[u8]) -> Option<Request> {
    let wrong = |wrong| {
        Some(Request {
            wish: Err(wrong),
            head_only: false,
        })
    };
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(Status::Complete(_)) => (),
        Ok(Status::Partial) if bytes.len() >= HEAD_MAX_BYTES => return wrong(Wrong::TooLong),
        Ok(Status::Partial) => return None,
        Err(Error::TooManyHeaders) => return wrong(Wrong::TooLong),
        Err(_) => return wrong(Wrong::Malformed),
    }
    let method = request.method.unwrap_or_default();
    if !matches!(method, "GET" | "HEAD") {
        return wrong(Wrong::Method);
    }
    let accepts = request
        .headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("accept"))
        .filter_map(|header| str::from_utf8(header.value).ok());
    let path = request.path.unwrap_or_default();
    let wish = match path.split('?').next() {
        Some("/metrics") => Ok(Wish::Metrics(format(accepts))),
        Some("/healthz") => Ok(Wish::Health),
        _ => Err(Wrong::Path),
    };
    let head_only = method == "HEAD";
    Some(Request { wish, head_only })
}

/// OpenMetrics for who asks for it, and does not like the other one better.
fn format<'a>(accepts: impl Iterator<Item = &'a str>) -> Format {
    let (mut open, mut plain) = (0, 0);
    for range in accepts.flat_map(|accept| accept.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality = quality.map_or(1_000, thousandths);
        if kind.eq_ignore_ascii_case("application/openmetrics-text") {
            open = quality.max(open);
        } else if kind.eq_ignore_ascii_case("text/plain") {
            plain = quality.max(plain);
        }
    }
    match open > 0 && open >= plain {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

/// A quality between 0 and 1; what is none is the least.
fn thousandths(text: &str) -> u32 {
    let quality: f32 = text.trim().parse().unwrap_or(0.0);
    (quality.clamp(0.0, 1.0) * 1_000.0) as u32
}

/// The head of a response, after which the connection is closed.
pub fn response_head(status: &str, content_type: &str, length: usize) -> String {
    let allow = match status.starts_with("405") {
        true => "Allow: GET, HEAD\r\n",
        false => "",
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n{allow}Connection: close\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(text: &str) -> Option<Result<Wish, Wrong>> {
        read(text.as_bytes()).map(|request| request.wish)
    }

    #[test]
    fn what_is_asked_for() {
        let plain = Wish::Metrics(Format::Prometheus);
        for (text, due) in [
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", Ok(plain)),
            ("GET /metrics?a=b HTTP/1.0\r\n\r\n", Ok(plain)),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", Ok(plain)),
            ("GET /healthz HTTP/1.1\r\n\r\n", Ok(Wish::Health)),
            ("GET / HTTP/1.1\r\n\r\n", Err(Wrong::Path)),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", Err(Wrong::Path)),
            (
                "POST /metrics HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde",
                Err(Wrong::Method),
            ),
            ("DELETE / HTTP/1.1\r\n\r\n", Err(Wrong::Method)),
            ("\x16\x03\x01\x02", Err(Wrong::Malformed)),
            ("GET /metrics\r\n\r\n", Err(Wrong::Malformed)),
            ("GET /metrics HTTP/2.0\r\n\r\n", Err(Wrong::Malformed)),
            (
                "GET /metrics HTTP/1.1\r\nno header\r\n\r\n",
                Err(Wrong::Malformed),
            ),
        ] {
            assert_eq!(wish(text), Some(due), "{text:?}");
        }
        for text in [
            "",
            "GET",
            "GET /metrics HTTP/1.1\r\n",
            "GET /metrics HTTP/1.1\r\nA: b\r\n",
        ] {
            assert_eq!(wish(text), None, "{text:?}");
        }
        let head = read(b"HEAD /healthz HTTP/1.1\r\n\r\n").expect("complete");
        assert!(head.head_only);
    }

    #[test]
    fn heads_have_a_limit() {
        let start = "GET /metrics HTTP/1.1\r\nA: ".to_owned();
        let long = start.clone() + &"a".repeat(HEAD_MAX_BYTES);
        assert_eq!(wish(&long), Some(Err(Wrong::TooLong)));
        assert_eq!(wish(&long[..HEAD_MAX_BYTES - 1]), None);
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(HEADERS_MAX + 1)
        );
        assert_eq!(wish(&many), Some(Err(Wrong::TooLong)));
    }

    #[test]
    fn the_form_that_is_liked_better() {
        for (accept, form) in [
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain", Format::Prometheus),
            ("application/openmetrics-text", Format::OpenMetrics),
            // Prometheus 2.42 and 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "text/plain;version=0.0.4;q=0.6, application/openmetrics-text;q=0.3",
                Format::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("application/openmetrics-text;q=x", Format::Prometheus),
        ] {
            assert_eq!(format([accept].into_iter()), form, "{accept}");
        }
    }

    #[test]
    fn a_response_says_how_long_it_is() {
        assert_eq!(
            response_head("405 Method Not Allowed", "text/plain", 5),
            "HTTP/1.1 405 Method Not Allowed\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\
             Allow: GET, HEAD\r\nConnection: close\r\n\r\n"
        );
    }
}
