//! Text to tokens: `sqlparser`'s tokenizer with Flink's lexical rules, every token with its place.
//!
//! Identifiers are quoted with backticks, strings with single quotes (doubled inside), comments are
//! `--` and `/* … */`. The grammar above the tokens is our own: the crate's parser tries one reading
//! after another, so that a line of nested calls takes it exponential time, and its nodes do not
//! carry the places that every refusal of ours names.
//!
//! # Invariants
//!
//! 1. Whitespace and comments are dropped; the last token is [`Token::EOF`].
//! 2. `start <= end` within a token, and tokens are in the order of the text.

use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Location, Tokenizer};

pub(crate) use sqlparser::tokenizer::Token;

use crate::error::{ScriptError, Span};

/// Flink's lexical rules (Calcite with the BACK_TICK quoting).
#[derive(Debug)]
struct Lexical;

impl Dialect for Lexical {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_' || ch == '$'
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        ch == '`'
    }

    fn supports_unicode_string_literal(&self) -> bool {
        true
    }
}

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    /// The token.
    pub(crate) token: Token,
    /// Where it starts.
    start: Location,
    /// Just behind it.
    end: Location,
}

impl Placed {
    /// Its place.
    pub(crate) fn span(&self) -> Span {
        self.span_to(self)
    }

    /// From here to the end of `last`; a place of several lines is cut to one character past its start.
    pub(crate) fn span_to(&self, last: &Placed) -> Span {
        let one_line = last.end.line == self.start.line && last.end.column > self.start.column;
        let own = self.end.line == self.start.line && self.end.column > self.start.column;
        let length = match (one_line, own) {
            (true, _) => last.end.column - self.start.column,
            (false, true) => self.end.column - self.start.column,
            (false, false) => 1,
        };
        Span { line: self.start.line, column: self.start.column, length }
    }

    /// Whether it is this keyword, unquoted, in any case.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }
}

/// The tokens of `text`; those before the first that is none, with its error.
pub(crate) fn tokens(text: &str) -> (Vec<Placed>, Option<ScriptError>) {
    let mut raw = Vec::new();
    let outcome = Tokenizer::new(&Lexical, text).tokenize_with_location_into_buf(&mut raw);
    let end = raw.last().map_or(Location { line: 1, column: 1 }, |token| token.span.end);
    let mut placed: Vec<Placed> = raw
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .map(|token| Placed { token: token.token, start: token.span.start, end: token.span.end })
        .collect();
    mark_bang_equals(text, &mut placed);
    let error = outcome.err().map(|error| lexical_error(&error.message, error.location));
    // The end is shown behind the last token that is there, so that the caret has a line to stand in.
    let end = placed.last().map_or(end, |token| token.end);
    placed.push(Placed { token: Token::EOF, start: end, end });
    (placed, error)
}

/// The tokenizer takes `!=` for `<>`; Flink does not.
fn mark_bang_equals(text: &str, placed: &mut [Placed]) {
    let mut lines = text.split('\n');
    let mut line = lines.next().unwrap_or("");
    let mut number = 1;
    for token in placed.iter_mut().filter(|token| token.token == Token::Neq) {
        while number < token.start.line {
            line = lines.next().unwrap_or("");
            number += 1;
        }
        if line.chars().nth(token.start.column.saturating_sub(1) as usize) == Some('!') {
            token.token = Token::CustomBinaryOperator("!=".into());
        }
    }
}

fn lexical_error(message: &str, at: Location) -> ScriptError {
    let span = Span { line: at.line.max(1), column: at.column.max(1), length: 1 };
    let message = message.trim_end_matches('.');
    let error = if message.contains("Unterminated string literal") {
        ScriptError::new("this string has no closing quote")
            .hint("close it with '; a quote inside is written ''")
    } else if message.contains("Expected close delimiter") {
        ScriptError::new("this name has no closing backtick").hint("close it with `")
    } else if message.contains("multi-line comment") {
        ScriptError::new("a comment has no closing */")
    } else {
        ScriptError::new(format!("this is no SQL: {message}"))
    };
    error.at(span)
}
