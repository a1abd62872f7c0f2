//! Rust source as words and signs, without comments and literals: enough to see what code mentions, and no more.

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub line: usize,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Word(String),
    /// `::`
    Colons,
    Sign(char),
}

impl Token {
    pub fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub fn is(&self, sign: char) -> bool {
        self.kind == Kind::Sign(sign)
    }
}

pub fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer {
        rest: source,
        line: 1,
    };
    let mut tokens = Vec::new();
    while let Some(first) = lexer.rest.chars().next() {
        let line = lexer.line;
        if let Some(kind) = lexer.step(first) {
            tokens.push(Token { line, kind });
        }
    }
    tokens
}

struct Lexer<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Lexer<'a> {
    fn step(&mut self, first: char) -> Option<Kind> {
        if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.block_comment();
        } else if let Some(length) = string_length(self.rest) {
            self.take(length);
        } else if first == '\'' {
            self.quote();
        } else if first.is_alphabetic() || first == '_' {
            let raw = if self.rest.starts_with("r#") { 2 } else { 0 };
            let word = self.take(raw + word_length(&self.rest[raw..]));
            return Some(Kind::Word(word[raw..].to_owned()));
        } else if first.is_ascii_digit() {
            self.take(word_length(self.rest));
        } else if self.rest.starts_with("::") {
            self.take(2);
            return Some(Kind::Colons);
        } else {
            self.take(first.len_utf8());
            return (!first.is_whitespace()).then_some(Kind::Sign(first));
        }
        None
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    /// They nest.
    fn block_comment(&mut self) {
        let mut depth = 0;
        loop {
            if self.rest.starts_with("/*") {
                depth += 1;
                self.take(2);
            } else if self.rest.starts_with("*/") {
                depth -= 1;
                self.take(2);
            } else if let Some(next) = self.rest.chars().next() {
                self.take(next.len_utf8());
            }
            if depth == 0 || self.rest.is_empty() {
                return;
            }
        }
    }

    /// A character or a lifetime: the former has its closing quote after one character or an escape.
    fn quote(&mut self) {
        let mut after = self.rest[1..].char_indices();
        let length = match (after.next(), after.next()) {
            // The character behind the backslash does not end it, even if it is a quote.
            (Some((_, '\\')), _) => after
                .find(|(_, c)| *c == '\'')
                .map_or(self.rest.len(), |(end, _)| end + 2),
            (Some(_), Some((end, '\''))) => end + 2,
            _ => 1 + word_length(&self.rest[1..]),
        };
        self.take(length);
    }
}

fn word_length(text: &str) -> usize {
    text.find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// How long the string literal is that the text begins with, if it does: `"…"`, `b"…"`, `c"…"`, `r#"…"#`, `br"…"`.
fn string_length(text: &str) -> Option<usize> {
    let prefix = ["", "b", "c", "r", "br", "cr"]
        .into_iter()
        .filter(|prefix| {
            let after = text.strip_prefix(prefix).unwrap_or("");
            let hashes = if prefix.ends_with('r') {
                after.trim_start_matches('#')
            } else {
                after
            };
            hashes.starts_with('"')
        })
        .max_by_key(|prefix| prefix.len())?;
    let body = &text[prefix.len()..];
    if prefix.ends_with('r') {
        let hashes = body.len() - body.trim_start_matches('#').len();
        let end = format!("\"{}", "#".repeat(hashes));
        let open = prefix.len() + hashes + 1;
        return Some(
            text[open..]
                .find(&end)
                .map_or(text.len(), |at| open + at + end.len()),
        );
    }
    let mut escaped = false;
    for (at, c) in body.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(prefix.len() + at + 1),
            _ => {}
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        tokens(source)
            .iter()
            .filter_map(|token| token.word().map(str::to_owned))
            .collect()
    }

    #[test]
    fn comments_are_left_out() {
        assert_eq!(
            words("a // b\nc /* d /* e */ f */ g /// h"),
            ["a", "c", "g"]
        );
    }

    #[test]
    fn strings_are_left_out() {
        assert_eq!(
            words(r##"a "b \" c" d b"e" r#"f " g"# h br"i\" j c"k" l"##),
            ["a", "d", "h", "j", "l"]
        );
    }

    #[test]
    fn characters_are_left_out_and_lifetimes_do_not_open_any() {
        assert_eq!(
            words(r"a 'b' '\'' '\u{7f}' '\\' &'c d <'e> '_' f"),
            ["a", "d", "f"]
        );
    }

    #[test]
    fn raw_words_are_words() {
        assert_eq!(
            words("r#use rest br bread 1u32"),
            ["use", "rest", "br", "bread"]
        );
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let found = tokens("/*\n*/ \"\n\n\" x\n::y");
        let lines: Vec<_> = found.iter().map(|token| token.line).collect();
        assert_eq!(lines, [4, 5, 5]);
    }

    #[test]
    fn what_is_not_closed_ends_with_the_file() {
        for source in ["\"a", "r#\"a", "/* a", "'", "'\\", "'a", "b'", "\"\\"] {
            tokens(source);
        }
    }
}
