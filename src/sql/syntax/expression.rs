//! Expressions, by precedence climbing with Calcite's precedences.
//!
//! | binds | operators |
//! |---|---|
//! | 80 | unary `+ -` |
//! | 60 | `* / % \|\|` |
//! | 40 | `+ -` |
//! | 32 | `[NOT] BETWEEN, IN, LIKE, SIMILAR TO` |
//! | 30 | `= <> < <= > >= IS [NOT] DISTINCT FROM` |
//! | 28 | `IS [NOT] NULL, TRUE, FALSE, UNKNOWN` |
//! | 26 | `NOT` |
//! | 24 | `AND` |
//! | 22 | `OR` |

use super::ast::{Call, Expr, ExprKind};
use super::cursor::{Cursor, Parsed};
use super::reserved::is_structural;
use super::token::Token;
use crate::error::ScriptError;

/// How tall a tree may be. Chains of one operator make tall trees too.
const HEIGHT_MAX: usize = 160;

const OR: u8 = 22;
const AND: u8 = 24;
const NOT: u8 = 26;
const IS: u8 = 28;
const COMPARE: u8 = 30;
const RANGE: u8 = 32;
const ADD: u8 = 40;
const MULTIPLY: u8 = 60;
const SIGN: u8 = 80;

impl Cursor<'_> {
    /// Any expression.
    pub(crate) fn expression(&mut self) -> Parsed<Expr> {
        self.expression_above(0)
    }

    /// An expression of operators that bind tighter than `floor`.
    fn expression_above(&mut self, floor: u8) -> Parsed<Expr> {
        self.nested(|cursor| {
            let start = cursor.position();
            let mut left = cursor.prefix()?;
            loop {
                left = match cursor.infix(left, start, floor)? {
                    (more, true) => more,
                    (whole, false) => return Ok(whole),
                };
            }
        })
    }

    /// A node from the token at `start` to here.
    pub(super) fn node(&self, start: usize, kind: ExprKind) -> Parsed<Expr> {
        let expr = Expr::new(kind, self.span_from(start));
        if expr.height > HEIGHT_MAX {
            return Err(ScriptError::new(format!(
                "this expression is more than {HEIGHT_MAX} operators deep"
            ))
            .at(expr.span)
            .hint("split it: put the inner part into a view or a subquery's column"));
        }
        Ok(expr)
    }

    pub(super) fn operator(
        &self,
        start: usize,
        name: &'static str,
        args: Vec<Expr>,
    ) -> Parsed<Expr> {
        self.node(start, ExprKind::Operator(name, args))
    }

    fn prefix(&mut self) -> Parsed<Expr> {
        let start = self.position();
        if self.eat("NOT") {
            let input = self.expression_above(NOT)?;
            return self.operator(start, "NOT", vec![input]);
        }
        if self.at_token(&Token::Minus)
            && let Token::Number(digits, false) = &self.peek_at(1).token
        {
            // A literal, so that the least BIGINT can be written.
            self.take();
            self.take();
            return self.node(start, ExprKind::Number(format!("-{digits}")));
        }
        if self.eat_token(&Token::Minus) {
            let input = self.expression_above(SIGN)?;
            return self.operator(start, "NEGATE", vec![input]);
        }
        if self.eat_token(&Token::Plus) {
            return self.expression_above(SIGN);
        }
        self.primary()
    }

    /// Continues `left` with one operator that binds tighter than `floor`; says whether there was one.
    fn infix(&mut self, left: Expr, start: usize, floor: u8) -> Parsed<(Expr, bool)> {
        if let Some((name, power)) = binary(&self.peek().token) {
            if power <= floor {
                return Ok((left, false));
            }
            self.take();
            let right = self.expression_above(power)?;
            return Ok((self.operator(start, name, vec![left, right])?, true));
        }
        for (word, power) in [("AND", AND), ("OR", OR)] {
            if self.at_any(&[word]) && power > floor {
                return Ok((self.chain(left, start, word, power)?, true));
            }
        }
        if self.at_any(&["IS"]) && IS > floor {
            return Ok((self.is_predicate(left, start)?, true));
        }
        let negated = self.at_any(&["NOT"]);
        let word = self.peek_at(usize::from(negated));
        let is_range = ["BETWEEN", "IN", "LIKE", "SIMILAR"].iter().any(|range| word.is_word(range));
        if is_range && RANGE > floor {
            if negated {
                self.take();
            }
            return Ok((self.range_predicate(left, start, negated)?, true));
        }
        if ["ILIKE", "RLIKE", "REGEXP", "OVERLAPS", "CONTAINS", "MEMBER", "COLLATE"]
            .iter()
            .any(|other| word.is_word(other))
        {
            return Err(self
                .error("this operator is not supported")
                .hint("use LIKE, SIMILAR TO or REGEXP(string, pattern)"));
        }
        match &self.peek().token {
            Token::LBracket => {
                Err(self.error("arrays and maps are not supported, so there is no [ ]"))
            }
            Token::CustomBinaryOperator(operator) => {
                Err(self.error(format!("{operator} is no Flink SQL")).hint("write <>"))
            }
            Token::DoubleColon => {
                Err(self.error(":: is no Flink SQL").hint("write CAST(x AS type)"))
            }
            _ => Ok((left, false)),
        }
    }

    /// `a AND b AND …`: a balanced tree, for the order of evaluation means nothing and chains may be long.
    fn chain(&mut self, first: Expr, start: usize, word: &str, power: u8) -> Parsed<Expr> {
        let mut terms = vec![(start, first)];
        while self.eat(word) {
            let term_start = self.position();
            terms.push((term_start, self.expression_above(power)?));
        }
        let name = if word == "AND" { "AND" } else { "OR" };
        while terms.len() > 1 {
            let mut paired = Vec::with_capacity(terms.len().div_ceil(2));
            let mut rest = terms.into_iter();
            while let Some((at, left)) = rest.next() {
                paired.push(match rest.next() {
                    Some((_, right)) => (at, self.operator(at, name, vec![left, right])?),
                    None => (at, left),
                });
            }
            terms = paired;
        }
        Ok(terms.pop().expect("a chain has a first term").1)
    }

    fn is_predicate(&mut self, left: Expr, start: usize) -> Parsed<Expr> {
        self.expect("IS")?;
        let negated = self.eat("NOT");
        let name = match (self.peek(), negated) {
            (t, false) if t.is_word("NULL") => "IS NULL",
            (t, true) if t.is_word("NULL") => "IS NOT NULL",
            (t, false) if t.is_word("TRUE") => "IS TRUE",
            (t, true) if t.is_word("TRUE") => "IS NOT TRUE",
            (t, false) if t.is_word("FALSE") => "IS FALSE",
            (t, true) if t.is_word("FALSE") => "IS NOT FALSE",
            (t, false) if t.is_word("UNKNOWN") => "IS UNKNOWN",
            (t, true) if t.is_word("UNKNOWN") => "IS NOT UNKNOWN",
            (t, false) if t.is_word("DISTINCT") => "IS DISTINCT FROM",
            (t, true) if t.is_word("DISTINCT") => "IS NOT DISTINCT FROM",
            (t, _) if t.is_word("JSON") => return Err(self.error("IS JSON is not supported")),
            _ => return Err(self.expected("NULL, TRUE, FALSE, UNKNOWN or DISTINCT FROM")),
        };
        self.take();
        let mut args = vec![left];
        if name.ends_with("FROM") {
            self.expect("FROM")?;
            args.push(self.expression_above(COMPARE)?);
        }
        self.operator(start, name, args)
    }

    fn range_predicate(&mut self, left: Expr, start: usize, negated: bool) -> Parsed<Expr> {
        let pick = |plain, not| if negated { not } else { plain };
        if self.eat("BETWEEN") {
            let symmetric = self.eat("SYMMETRIC");
            if !symmetric {
                self.eat("ASYMMETRIC");
            }
            let low = self.expression_above(RANGE)?;
            self.expect("AND")?;
            let high = self.expression_above(RANGE)?;
            let name = if symmetric {
                pick("BETWEEN SYMMETRIC", "NOT BETWEEN SYMMETRIC")
            } else {
                pick("BETWEEN", "NOT BETWEEN")
            };
            return self.operator(start, name, vec![left, low, high]);
        }
        if self.eat("IN") {
            let paren = self.peek().span();
            self.expect_token(&Token::LParen)?;
            if self.at_any(&["SELECT", "WITH", "VALUES", "TABLE"]) {
                return Err(ScriptError::new(
                    "IN (subquery) is a join, and joins are not supported yet",
                )
                .at(paren)
                .hint("write the values as a list: x IN (1, 2, 3)"));
            }
            let mut args = vec![left];
            args.extend(self.comma_separated(Cursor::expression)?);
            self.expect_token(&Token::RParen)?;
            return self.operator(start, pick("IN", "NOT IN"), args);
        }
        let name = if self.eat("LIKE") {
            pick("LIKE", "NOT LIKE")
        } else {
            self.expect("SIMILAR")?;
            self.expect("TO")?;
            pick("SIMILAR TO", "NOT SIMILAR TO")
        };
        let mut args = vec![left, self.expression_above(RANGE)?];
        if self.eat("ESCAPE") {
            args.push(self.expression_above(RANGE)?);
        }
        self.operator(start, name, args)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let start = self.position();
        let placed = self.peek();
        match &placed.token {
            Token::LParen => self.parenthesised(),
            Token::Word(word) if word.quote_style.is_none() => {
                let upper = word.value.to_ascii_uppercase();
                if let Some(expr) = self.special(&upper, start)? {
                    return Ok(expr);
                }
                self.name_or_call(start)
            }
            Token::Word(_) => self.name_or_call(start),
            _ => self.plain_literal(start),
        }
    }

    /// An operand that ends before a range operator such as IN.
    pub(super) fn operand(&mut self) -> Parsed<Expr> {
        self.expression_above(RANGE)
    }

    fn parenthesised(&mut self) -> Parsed<Expr> {
        let start = self.position();
        self.take();
        if self.at_any(&["SELECT", "WITH", "VALUES"]) {
            return Err(self
                .error("a subquery as a value is a join, and joins are not supported yet")
                .hint("compute the value before, and write it as a literal"));
        }
        let mut list = self.comma_separated(Cursor::expression)?;
        self.expect_token(&Token::RParen)?;
        match list.len() {
            1 => {
                let mut inner = list.pop().expect("one");
                inner.span = self.span_from(start);
                Ok(inner)
            }
            _ => self.node(start, ExprKind::Tuple(list)),
        }
    }

    fn name_or_call(&mut self, start: usize) -> Parsed<Expr> {
        let is_call = self.peek_at(1).token == Token::LParen;
        if !is_call {
            let name = self.name("a column or an expression")?;
            if self.at_token(&Token::LParen) {
                return Err(ScriptError::new(
                    "functions of catalogs and databases are not supported",
                )
                .at(name.span));
            }
            return self.node(start, ExprKind::Column(name));
        }
        let Token::Word(word) = &self.peek().token else { return Err(self.expected("a function")) };
        if word.quote_style.is_none() && is_structural(&word.value) {
            return Err(self.expected("an expression"));
        }
        let placed = self.take();
        let name = super::ast::Ident { name: word.value.clone(), span: placed.span() };
        self.call(name, start)
    }

    /// `( … )` of a function, and what may follow.
    fn call(&mut self, name: super::ast::Ident, start: usize) -> Parsed<Expr> {
        self.expect_token(&Token::LParen)?;
        let (args, given) = (Vec::new(), self.program.function(&name.name));
        let mut call = Call { name, args, star: false, distinct: false, filter: None, given };
        if self.eat_token(&Token::Mul) {
            call.star = true;
        } else if !self.at_token(&Token::RParen) {
            call.distinct = self.eat("DISTINCT");
            if !call.distinct {
                self.eat("ALL");
            }
            if self.at_any(&["TABLE", "SELECT"]) {
                return Err(self
                    .error("a table is no argument here")
                    .hint("window functions stand in FROM: FROM TABLE(TUMBLE(TABLE t, …))"));
            }
            call.args = self.comma_separated(Cursor::expression)?;
        }
        for refused in ["ORDER", "RESPECT", "IGNORE"] {
            if self.at_any(&[refused]) {
                return Err(self.error(format!("{refused} within a call is not supported")));
            }
        }
        self.expect_token(&Token::RParen)?;
        if self.at_any(&["WITHIN"]) {
            return Err(self
                .error("WITHIN GROUP is not supported")
                .hint("aggregates see rows in arrival order"));
        }
        if self.at_any(&["FILTER"]) && self.peek_at(1).token == Token::LParen {
            self.take();
            self.take();
            self.expect("WHERE")?;
            call.filter = Some(Box::new(self.expression()?));
            self.expect_token(&Token::RParen)?;
        }
        if self.at_any(&["OVER"]) {
            return Err(self.error("OVER is not supported yet").hint(
                "aggregate in a window: FROM TABLE(TUMBLE(…)) GROUP BY window_start, window_end",
            ));
        }
        self.node(start, ExprKind::Call(call))
    }
}

fn binary(token: &Token) -> Option<(&'static str, u8)> {
    Some(match token {
        Token::Eq => ("=", COMPARE),
        Token::Neq => ("<>", COMPARE),
        Token::Lt => ("<", COMPARE),
        Token::LtEq => ("<=", COMPARE),
        Token::Gt => (">", COMPARE),
        Token::GtEq => (">=", COMPARE),
        Token::Plus => ("+", ADD),
        Token::Minus => ("-", ADD),
        Token::Mul => ("*", MULTIPLY),
        Token::Div => ("/", MULTIPLY),
        Token::Mod => ("%", MULTIPLY),
        Token::StringConcat => ("||", MULTIPLY),
        _ => return None,
    })
}
