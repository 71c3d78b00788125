//! The parser's state: a position among the tokens, and the steps that all of the grammar is made of.
//!
//! # Invariants
//!
//! 1. The position never passes the last token, [`Token::EOF`].
//! 2. `depth` counts the nesting of expressions and queries; beyond [`DEPTH_MAX`] the script is refused, so
//!    that neither the parser nor what walks its tree can overflow the stack.

use super::ast::{Ident, Name, Text};
use super::reserved::is_reserved;
use super::token::{Placed, Token};
use crate::error::{ScriptError, Span};
use crate::sql::Program;

/// How deep expressions and queries may nest.
pub(crate) const DEPTH_MAX: usize = 64;

/// What a step of the grammar yields.
pub(crate) type Parsed<T> = Result<T, ScriptError>;

/// A position among the tokens of a script.
pub(crate) struct Cursor<'t> {
    tokens: &'t [Placed],
    position: usize,
    depth: usize,
    /// Whose functions calls may mean.
    pub(super) program: &'t Program,
}

impl<'t> Cursor<'t> {
    /// At the start of `tokens`, which end in EOF.
    pub(crate) fn new(tokens: &'t [Placed], program: &'t Program) -> Self {
        assert!(
            matches!(tokens.last(), Some(Placed { token: Token::EOF, .. })),
            "the tokens end in EOF"
        );
        Self { tokens, position: 0, depth: 0, program }
    }

    /// The index of the next token, for [`Cursor::span_from`].
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The next token.
    pub(crate) fn peek(&self) -> &'t Placed {
        &self.tokens[self.position]
    }

    /// The token `ahead` places after the next.
    pub(crate) fn peek_at(&self, ahead: usize) -> &'t Placed {
        &self.tokens[(self.position + ahead).min(self.tokens.len() - 1)]
    }

    /// Takes the next token.
    pub(crate) fn take(&mut self) -> &'t Placed {
        let token = self.peek();
        self.position = (self.position + 1).min(self.tokens.len() - 1);
        token
    }

    /// From the token at `start` to the last one taken.
    pub(crate) fn span_from(&self, start: usize) -> Span {
        let last = self.position.saturating_sub(1).max(start);
        self.tokens[start].span_to(&self.tokens[last])
    }

    /// Whether the next tokens are these keywords.
    pub(crate) fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(index, word)| self.peek_at(index).is_word(word))
    }

    /// Whether the next token is one of these keywords.
    pub(crate) fn at_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.peek().is_word(word))
    }

    /// Takes these keywords if they are next.
    pub(crate) fn eat_words(&mut self, words: &[&str]) -> bool {
        let found = self.at_words(words);
        if found {
            self.position += words.len();
        }
        found
    }

    /// Takes this keyword if it is next.
    pub(crate) fn eat(&mut self, word: &str) -> bool {
        self.eat_words(&[word])
    }

    /// Whether the next token is this one.
    pub(crate) fn at_token(&self, token: &Token) -> bool {
        self.peek().token == *token
    }

    /// Takes this token if it is next.
    pub(crate) fn eat_token(&mut self, token: &Token) -> bool {
        let found = self.at_token(token);
        if found {
            self.take();
        }
        found
    }

    /// Takes this keyword.
    pub(crate) fn expect(&mut self, word: &str) -> Parsed<()> {
        if self.eat(word) { Ok(()) } else { Err(self.expected(word)) }
    }

    /// Takes this token.
    pub(crate) fn expect_token(&mut self, token: &Token) -> Parsed<()> {
        if self.eat_token(token) { Ok(()) } else { Err(self.expected(&format!("'{token}'"))) }
    }

    /// The error that `what` should stand here.
    pub(crate) fn expected(&self, what: &str) -> ScriptError {
        let found = self.peek();
        let found_text = match &found.token {
            Token::EOF => "the end of the script".to_string(),
            token => format!("'{}'", shortened(&token.to_string())),
        };
        ScriptError::new(format!("{what} is expected here, not {found_text}")).at(found.span())
    }

    /// An error at the next token.
    pub(crate) fn error(&self, message: impl Into<String>) -> ScriptError {
        ScriptError::new(message).at(self.peek().span())
    }

    /// Runs `parse` one level deeper.
    pub(crate) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self
                .error(format!("this is nested more than {DEPTH_MAX} levels deep"))
                .hint("split it: put the inner part into a view or a subquery's column"));
        }
        self.depth += 1;
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    /// Skips to behind the next `;`, or to the end.
    pub(crate) fn recover(&mut self) {
        while !matches!(self.peek().token, Token::SemiColon | Token::EOF) {
            self.take();
        }
        self.depth = 0;
    }

    /// A name; reserved words need backticks.
    pub(crate) fn ident(&mut self, what: &str) -> Parsed<Ident> {
        let placed = self.peek();
        match &placed.token {
            Token::Word(word) if word.quote_style.is_some() || !is_reserved(&word.value) => {
                self.take();
                if word.value.is_empty() {
                    return Err(ScriptError::new("a name is empty").at(placed.span()));
                }
                Ok(Ident { name: word.value.clone(), span: placed.span() })
            }
            Token::Word(word) => Err(self
                .error(format!("{what} is expected here, and {} is a reserved word", word.value))
                .hint(format!("if it is a name, write it in backticks: `{}`", word.value))),
            Token::DoubleQuotedString(text) => Err(self
                .error(format!("{what} is expected here; double quotes mean nothing in Flink SQL"))
                .hint(format!(
                    "write names in backticks, `{text}`, and strings in single quotes, '{text}'"
                ))),
            _ => Err(self.expected(what)),
        }
    }

    /// A name of one or more parts with dots.
    pub(crate) fn name(&mut self, what: &str) -> Parsed<Name> {
        let start = self.position;
        let mut parts = vec![self.ident(what)?];
        while self.eat_token(&Token::Period) {
            parts.push(self.ident(what)?);
        }
        Ok(Name { parts, span: self.span_from(start) })
    }

    /// `( name, … )`.
    pub(crate) fn ident_list(&mut self, what: &str) -> Parsed<Vec<Ident>> {
        self.expect_token(&Token::LParen)?;
        let list = self.comma_separated(|cursor| cursor.ident(what))?;
        self.expect_token(&Token::RParen)?;
        Ok(list)
    }

    /// A string in single quotes.
    pub(crate) fn text(&mut self, what: &str) -> Parsed<Text> {
        let placed = self.peek();
        match &placed.token {
            Token::SingleQuotedString(value) => {
                self.take();
                Ok(Text { value: value.clone(), span: placed.span() })
            }
            _ => Err(self.expected(&format!("{what} in single quotes"))),
        }
    }

    /// A whole number that fits the range.
    pub(crate) fn number(&mut self, what: &str, min: u64, max: u64) -> Parsed<u64> {
        let placed = self.peek();
        let value = match &placed.token {
            Token::Number(digits, false) => digits.parse().ok(),
            _ => return Err(self.expected(what)),
        };
        match value {
            Some(value) if (min..=max).contains(&value) => {
                self.take();
                Ok(value)
            }
            _ => Err(self.error(format!("{what} is a whole number from {min} to {max}"))),
        }
    }

    /// One or more, with commas between.
    pub(crate) fn comma_separated<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> Parsed<T>,
    ) -> Parsed<Vec<T>> {
        let mut all = vec![one(self)?];
        while self.eat_token(&Token::Comma) {
            all.push(one(self)?);
        }
        Ok(all)
    }
}

/// At most 40 characters, for messages.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}
