//! Literals, and the functions whose arguments have a syntax of their own.

use super::ast::{Expr, ExprKind, TimeLiteral};
use super::cursor::{Cursor, Parsed};
use super::interval;
use super::token::Token;
use crate::batch::DataType;
use crate::error::ScriptError;

/// Units of EXTRACT, FLOOR, CEIL, TIMESTAMPADD and TIMESTAMPDIFF.
const UNITS: &[&str] = &[
    "NANOSECOND",
    "MICROSECOND",
    "MILLISECOND",
    "SECOND",
    "MINUTE",
    "HOUR",
    "DAY",
    "WEEK",
    "MONTH",
    "QUARTER",
    "YEAR",
    "DECADE",
    "CENTURY",
    "MILLENNIUM",
    "EPOCH",
    "DOW",
    "ISODOW",
    "DOY",
    "ISOYEAR",
];

impl Cursor<'_> {
    /// A number or a string.
    pub(super) fn plain_literal(&mut self, start: usize) -> Parsed<Expr> {
        let kind = match &self.peek().token {
            Token::Number(digits, false) => ExprKind::Number(digits.clone()),
            Token::Number(_, true) => {
                return Err(self.error("a number has no suffix").hint("write CAST(1 AS BIGINT)"));
            }
            Token::SingleQuotedString(text) | Token::UnicodeStringLiteral(text) => {
                ExprKind::String(text.clone())
            }
            Token::HexStringLiteral(digits) => match bytes(digits) {
                Some(bytes) => ExprKind::Bytes(bytes),
                None => {
                    return Err(self.error(
                        "a binary literal is X'…' with an even number of hexadecimal digits",
                    ));
                }
            },
            Token::DoubleQuotedString(text) => {
                return Err(self.error("double quotes mean nothing in Flink SQL").hint(format!(
                    "write strings in single quotes, '{text}', and names in backticks, `{text}`"
                )));
            }
            Token::Mul => {
                return Err(self
                    .expected("an expression")
                    .hint("* stands only in SELECT * and COUNT(*)"));
            }
            Token::Placeholder(_) => return Err(self.error("a script has no parameters")),
            _ => return Err(self.expected("an expression")),
        };
        self.take();
        self.node(start, kind)
    }

    /// An expression that starts with the word `upper`, if the word has a meaning of its own here.
    pub(super) fn special(&mut self, upper: &str, start: usize) -> Parsed<Option<Expr>> {
        let called = self.peek_at(1).token == Token::LParen;
        let quoted = matches!(self.peek_at(1).token, Token::SingleQuotedString(_));
        let bracket = self.peek_at(1).token == Token::LBracket;
        let expr = match upper {
            "NULL" => self.word_literal(start, ExprKind::Null)?,
            "TRUE" => self.word_literal(start, ExprKind::Boolean(true))?,
            "FALSE" => self.word_literal(start, ExprKind::Boolean(false))?,
            "UNKNOWN" if !called => self.word_literal(start, ExprKind::Null)?,
            "DATE" if quoted => self.typed_string(start, TimeLiteral::Date)?,
            "TIME" if quoted => self.typed_string(start, TimeLiteral::Time)?,
            "TIMESTAMP" if quoted => self.typed_string(start, TimeLiteral::Timestamp)?,
            "INTERVAL" => self.interval(start)?,
            "CASE" => self.case(start)?,
            "CAST" if called => self.cast(start, false)?,
            "TRY_CAST" if called => self.cast(start, true)?,
            "EXTRACT" if called => self.extract(start)?,
            "FLOOR" if called => self.round_to(start, "FLOOR", "FLOOR TO")?,
            "CEIL" | "CEILING" if called => self.round_to(start, "CEIL", "CEIL TO")?,
            "POSITION" if called => self.position_of(start)?,
            "SUBSTRING" | "SUBSTR" if called => self.substring(start)?,
            "TRIM" if called => self.trim(start)?,
            "OVERLAY" if called => self.overlay(start)?,
            "TIMESTAMPDIFF" if called => self.with_unit(start, "TIMESTAMPDIFF")?,
            "TIMESTAMPADD" if called => self.with_unit(start, "TIMESTAMPADD")?,
            "JSON_VALUE" if called => self.json_value(start)?,
            "CURRENT_DATE" if !called => self.word_call(start, "CURRENT_DATE")?,
            "CURRENT_TIME" if !called => self.word_call(start, "CURRENT_TIME")?,
            "CURRENT_TIMESTAMP" if !called => self.word_call(start, "CURRENT_TIMESTAMP")?,
            "LOCALTIME" if !called => self.word_call(start, "LOCALTIME")?,
            "LOCALTIMESTAMP" if !called => self.word_call(start, "LOCALTIMESTAMP")?,
            "EXISTS" => return Err(self.error("EXISTS is a join, and joins are not supported yet")),
            "ARRAY" | "MAP" if bracket => {
                return Err(self.error(format!("{upper}[…] is not supported yet")));
            }
            "ROW" if called => {
                return Err(self
                    .error("ROW(…) is not supported yet")
                    .hint("select the columns one by one"));
            }
            "SELECT" | "WITH" | "VALUES" => {
                return Err(
                    self.error("a subquery as a value is a join, and joins are not supported yet")
                );
            }
            _ => return Ok(None),
        };
        Ok(Some(expr))
    }

    fn word_literal(&mut self, start: usize, kind: ExprKind) -> Parsed<Expr> {
        self.take();
        self.node(start, kind)
    }

    fn word_call(&mut self, start: usize, name: &'static str) -> Parsed<Expr> {
        self.take();
        self.operator(start, name, Vec::new())
    }

    fn typed_string(&mut self, start: usize, kind: TimeLiteral) -> Parsed<Expr> {
        self.take();
        let text = self.text("a time")?;
        self.node(start, ExprKind::Typed(kind, text.value))
    }

    /// `INTERVAL '5' SECOND`, `INTERVAL -'1 10' DAY TO HOUR`.
    fn interval(&mut self, start: usize) -> Parsed<Expr> {
        self.take();
        let minus = self.eat_token(&Token::Minus);
        if !minus {
            self.eat_token(&Token::Plus);
        }
        let text = match &self.peek().token {
            Token::Number(digits, false) => {
                self.take();
                digits.clone()
            }
            _ => self.text("an interval's value")?.value,
        };
        let first = self.interval_unit()?;
        let mut digits = None;
        if self.eat_token(&Token::LParen) {
            digits = Some(self.number("an interval's precision", 1, 10)?);
            if first == "SECOND" && self.eat_token(&Token::Comma) {
                self.number("a fraction's precision", 0, 9)?;
            }
            self.expect_token(&Token::RParen)?;
        }
        let last = if self.eat("TO") { Some(self.interval_unit()?) } else { None };
        if self.eat_token(&Token::LParen) {
            self.number("a fraction's precision", 0, 9)?;
            self.expect_token(&Token::RParen)?;
        }
        let literal = interval::parse(&text, minus, first, last, digits)
            .map_err(|error| error.at(self.span_from(start)))?;
        self.node(start, literal)
    }

    fn interval_unit(&mut self) -> Parsed<&'static str> {
        for unit in ["YEAR", "QUARTER", "MONTH", "WEEK", "DAY", "HOUR", "MINUTE", "SECOND"] {
            if self.eat(unit) || self.eat(&format!("{unit}S")) {
                return Ok(unit);
            }
        }
        Err(self.expected("YEAR, QUARTER, MONTH, WEEK, DAY, HOUR, MINUTE or SECOND"))
    }

    fn case(&mut self, start: usize) -> Parsed<Expr> {
        self.take();
        let operand =
            if self.at_any(&["WHEN"]) { None } else { Some(Box::new(self.expression()?)) };
        let mut branches = Vec::new();
        while self.eat("WHEN") {
            let when = self.expression()?;
            if self.at_token(&Token::Comma) {
                return Err(self.error("WHEN takes one value").hint("write a WHEN for each value"));
            }
            self.expect("THEN")?;
            branches.push((when, self.expression()?));
        }
        if branches.is_empty() {
            return Err(self.expected("WHEN"));
        }
        let otherwise = if self.eat("ELSE") { Some(Box::new(self.expression()?)) } else { None };
        self.expect("END")?;
        self.node(start, ExprKind::Case { operand, branches, otherwise })
    }

    fn cast(&mut self, start: usize, try_cast: bool) -> Parsed<Expr> {
        self.open_call()?;
        let input = Box::new(self.expression()?);
        self.expect("AS")?;
        let target = self.data_type()?;
        self.expect_token(&Token::RParen)?;
        self.node(start, ExprKind::Cast { input, target, try_cast })
    }

    fn extract(&mut self, start: usize) -> Parsed<Expr> {
        self.open_call()?;
        let unit = self.unit()?;
        self.expect("FROM")?;
        let input = self.expression()?;
        self.expect_token(&Token::RParen)?;
        self.operator(start, "EXTRACT", vec![unit, input])
    }

    fn round_to(
        &mut self,
        start: usize,
        plain: &'static str,
        to_unit: &'static str,
    ) -> Parsed<Expr> {
        self.open_call()?;
        let input = self.expression()?;
        if !self.eat("TO") {
            self.expect_token(&Token::RParen)?;
            return self.operator(start, plain, vec![input]);
        }
        let unit = self.unit()?;
        self.expect_token(&Token::RParen)?;
        self.operator(start, to_unit, vec![input, unit])
    }

    /// The needle's grammar ends before IN, which would otherwise be the operator.
    fn position_of(&mut self, start: usize) -> Parsed<Expr> {
        self.open_call()?;
        let needle = self.operand()?;
        self.expect("IN")?;
        let hay = self.expression()?;
        let mut args = vec![needle, hay];
        if self.eat("FROM") {
            args.push(self.expression()?);
        }
        self.expect_token(&Token::RParen)?;
        self.operator(start, "POSITION", args)
    }

    fn substring(&mut self, start: usize) -> Parsed<Expr> {
        self.open_call()?;
        let mut args = vec![self.expression()?];
        let spelled = self.eat("FROM");
        if !spelled {
            self.expect_token(&Token::Comma)?;
        }
        args.push(self.expression()?);
        if if spelled { self.eat("FOR") } else { self.eat_token(&Token::Comma) } {
            args.push(self.expression()?);
        }
        self.expect_token(&Token::RParen)?;
        self.operator(start, "SUBSTRING", args)
    }

    fn trim(&mut self, start: usize) -> Parsed<Expr> {
        self.open_call()?;
        let sides =
            [("BOTH", "TRIM BOTH"), ("LEADING", "TRIM LEADING"), ("TRAILING", "TRIM TRAILING")];
        let side = sides.into_iter().find(|(word, _)| self.eat(word)).map(|(_, name)| name);
        let space = Expr::new(ExprKind::String(" ".into()), self.peek().span());
        if side.is_some() && self.eat("FROM") {
            let input = self.expression()?;
            self.expect_token(&Token::RParen)?;
            return self.operator(start, side.unwrap_or("TRIM BOTH"), vec![space, input]);
        }
        let first = self.expression()?;
        let args = if self.eat("FROM") {
            vec![first, self.expression()?]
        } else if side.is_some() {
            return Err(self.expected("FROM"));
        } else {
            vec![space, first]
        };
        self.expect_token(&Token::RParen)?;
        self.operator(start, side.unwrap_or("TRIM BOTH"), args)
    }

    fn overlay(&mut self, start: usize) -> Parsed<Expr> {
        self.open_call()?;
        let mut args = vec![self.expression()?];
        self.expect("PLACING")?;
        args.push(self.expression()?);
        self.expect("FROM")?;
        args.push(self.expression()?);
        if self.eat("FOR") {
            args.push(self.expression()?);
        }
        self.expect_token(&Token::RParen)?;
        self.operator(start, "OVERLAY", args)
    }

    fn with_unit(&mut self, start: usize, name: &'static str) -> Parsed<Expr> {
        self.open_call()?;
        let mut args = vec![self.unit()?];
        for _ in 0..2 {
            self.expect_token(&Token::Comma)?;
            args.push(self.expression()?);
        }
        self.expect_token(&Token::RParen)?;
        self.operator(start, name, args)
    }

    fn json_value(&mut self, start: usize) -> Parsed<Expr> {
        self.open_call()?;
        let input = self.expression()?;
        self.expect_token(&Token::Comma)?;
        let path = self.expression()?;
        let target = if self.eat("RETURNING") { Some(self.data_type()?) } else { None };
        // NULL is what there is without them, too.
        self.eat_words(&["NULL", "ON", "EMPTY"]);
        self.eat_words(&["NULL", "ON", "ERROR"]);
        if self.at_any(&["NULL", "ERROR", "DEFAULT"]) {
            return Err(self.error("this clause of JSON_VALUE is not supported").hint(
                "JSON_VALUE is NULL where nothing is found: write COALESCE(JSON_VALUE(…), …)",
            ));
        }
        self.expect_token(&Token::RParen)?;
        let value = self.operator(start, "JSON_VALUE", vec![input, path])?;
        match target {
            None | Some(DataType::VarChar(_)) => Ok(value),
            Some(target @ (DataType::Boolean | DataType::Int | DataType::Double)) => {
                self.node(start, ExprKind::Cast { input: Box::new(value), target, try_cast: false })
            }
            Some(other) => Err(ScriptError::new(format!(
                "JSON_VALUE returns no {other}, in Flink neither"
            ))
            .at(value.span)
            .hint(
                "RETURNING takes STRING, BOOLEAN, INTEGER and DOUBLE; CAST makes others of them",
            )),
        }
    }

    /// Takes the function's name and `(`.
    fn open_call(&mut self) -> Parsed<()> {
        self.take();
        self.expect_token(&Token::LParen)
    }

    fn unit(&mut self) -> Parsed<Expr> {
        let start = self.position();
        let mut word = match &self.peek().token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            _ => return Err(self.expected("a unit such as DAY")),
        };
        if let Some(rest) = word.strip_prefix("SQL_TSI_") {
            word = rest.to_string();
        }
        if !UNITS.contains(&word.as_str()) && word.ends_with('S') {
            word.pop();
        }
        if !UNITS.contains(&word.as_str()) {
            return Err(self.expected(
                "a unit such as SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER or YEAR",
            ));
        }
        self.take();
        self.node(start, ExprKind::Unit(word))
    }
}

/// The bytes of hexadecimal digits.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = digits.chars().map(|ch| ch.to_digit(16)).collect::<Option<_>>()?;
    digits.chunks(2).map(|pair| Some((pair[0] * 16 + pair.get(1)?) as u8)).collect()
}
