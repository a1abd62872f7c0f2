//! The paths that a source mentions: `a::b::c` as written, and every leaf of a `use` with its full path.

use super::lexer::{Kind, Token, tokens};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mention {
    pub line: usize,
    /// `["std", "time", "Instant"]`; a glob import ends in `*`.
    pub path: Vec<String>,
}

pub fn mentions(source: &str) -> Vec<Mention> {
    let tokens = tokens(source);
    let mut reader = Reader {
        tokens: &tokens,
        mentions: Vec::new(),
    };
    while let Some((token, rest)) = reader.tokens.split_first() {
        match token.word() {
            // `use<'a>` in a return type imports nothing.
            Some("use") if !rest.first().is_some_and(|next| next.is('<')) => {
                reader.tokens = rest;
                reader.tree(&[]);
            }
            Some(_) => reader.path(token.line),
            None => reader.tokens = rest,
        }
    }
    reader.mentions
}

struct Reader<'a> {
    tokens: &'a [Token],
    mentions: Vec<Mention>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<&Token> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn skip(&mut self, kind: &Kind) -> bool {
        let found = self.tokens.first().is_some_and(|token| token.kind == *kind);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    /// A path in code. A single word is no path: it may be anybody's variable.
    fn path(&mut self, line: usize) {
        let mut path = Vec::new();
        while let Some(word) = self.tokens.first().and_then(Token::word) {
            path.push(word.to_owned());
            self.tokens = &self.tokens[1..];
            if !self.skip(&Kind::Colons) {
                break;
            }
        }
        if path.len() > 1 {
            self.mentions.push(Mention { line, path });
        }
    }

    /// A tree of a `use` below `prefix`.
    fn tree(&mut self, prefix: &[String]) {
        let mut path = prefix.to_vec();
        self.skip(&Kind::Colons);
        let line = loop {
            if self.skip(&Kind::Sign('{')) {
                while !self.skip(&Kind::Sign('}')) {
                    if self.tokens.is_empty() {
                        return;
                    }
                    self.tree(&path);
                    self.skip(&Kind::Sign(','));
                }
                return;
            }
            let Some(token) = self.next() else { return };
            let line = token.line;
            match &token.kind {
                Kind::Word(word) if word == "self" && !path.is_empty() => {}
                Kind::Word(word) => path.push(word.clone()),
                Kind::Sign('*') => path.push("*".to_owned()),
                _ => return,
            }
            if !self.skip(&Kind::Colons) {
                break line;
            }
        };
        if self.tokens.first().and_then(Token::word) == Some("as") {
            self.tokens = &self.tokens[2.min(self.tokens.len())..];
        }
        self.mentions.push(Mention { line, path });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        mentions(source)
            .iter()
            .map(|mention| mention.path.join("::"))
            .collect()
    }

    #[test]
    fn paths_in_code() {
        assert_eq!(
            paths("fn f(a: std::fs::File) { let aya = ::libc::getpid(); g::<x::Y>() }"),
            ["std::fs::File", "libc::getpid", "x::Y"]
        );
    }

    #[test]
    fn every_leaf_of_a_use() {
        assert_eq!(
            paths(
                "pub use std::{fs, io::{self, Read as R}, net::*,}; use aya; use ::nix::{a, b}; x::y();"
            ),
            [
                "std::fs",
                "std::io",
                "std::io::Read",
                "std::net::*",
                "aya",
                "nix::a",
                "nix::b",
                "x::y"
            ]
        );
    }

    #[test]
    fn lines_are_those_of_the_leaf() {
        let lines: Vec<_> = mentions("use std::{\n    a,\n    b::c,\n};")
            .iter()
            .map(|m| m.line)
            .collect();
        assert_eq!(lines, [2, 3]);
    }

    #[test]
    fn comments_strings_and_captures_mention_nothing() {
        assert_eq!(
            paths("/// std::fs\nconst A: &str = \"std::fs\"; fn f<'a>() -> impl T + use<'a> {}"),
            [""; 0]
        );
    }

    #[test]
    fn what_does_not_parse_ends() {
        for source in [
            "use a::{b",
            "use a::{;;",
            "use",
            "use a::{b::{c}",
            "use a as",
        ] {
            mentions(source);
        }
    }
}
