//! What stands in FROM: tables, subqueries and window functions. Joins and their kin are refused here.

use super::ast::{Ident, Table, TableKind, WindowCall};
use super::cursor::{Cursor, Parsed};
use super::token::Token;
use crate::error::ScriptError;

/// The window table functions.
const WINDOW_FUNCTIONS: [&str; 4] = ["TUMBLE", "HOP", "CUMULATE", "SESSION"];

impl Cursor<'_> {
    /// FROM's one relation.
    pub(super) fn table(&mut self) -> Parsed<Table> {
        let table = self.nested(Cursor::table_factor)?;
        if self.at_token(&Token::Comma)
            || self.at_any(&["JOIN", "CROSS", "INNER", "LEFT", "RIGHT", "FULL", "NATURAL"])
        {
            return Err(self
                .error("joins are not supported yet")
                .hint("read one table a query; to have the rows of several tables in one stream, write UNION ALL"));
        }
        Ok(table)
    }

    fn table_factor(&mut self) -> Parsed<Table> {
        let start = self.position();
        let kind = if self.at_token(&Token::LParen) {
            self.take();
            let kind =
                if self.at_token(&Token::LParen) || self.at_any(&["SELECT", "WITH", "VALUES"]) {
                    TableKind::Query(Box::new(self.query()?))
                } else {
                    let inner = self.table()?;
                    self.expect_token(&Token::RParen)?;
                    return self.finish_table(start, inner);
                };
            self.expect_token(&Token::RParen)?;
            kind
        } else if self.at_any(&["LATERAL", "UNNEST"]) {
            return Err(self.error("LATERAL and UNNEST are not supported yet"));
        } else if self.at_any(&["TABLE"]) && self.peek_at(1).token == Token::LParen {
            self.take();
            self.take();
            let call = self.window_call()?;
            self.expect_token(&Token::RParen)?;
            TableKind::Window(Box::new(call))
        } else if self.peek_at(1).token == Token::LParen && self.at_any(&WINDOW_FUNCTIONS) {
            TableKind::Window(Box::new(self.window_call()?))
        } else {
            let name = self.name("a table")?;
            if self.at_token(&Token::LParen) {
                return Err(ScriptError::new(format!(
                    "there is no table function {}",
                    name.text()
                ))
                .at(name.span)
                .hint("the table functions are TUMBLE, HOP, CUMULATE and SESSION"));
            }
            TableKind::Named(name)
        };
        self.refuse_decorations()?;
        let table = Table { kind, alias: None, columns: Vec::new(), span: self.span_from(start) };
        self.finish_table(start, table)
    }

    /// The alias, with its column names.
    fn finish_table(&mut self, start: usize, mut table: Table) -> Parsed<Table> {
        if self.at_any(&["MATCH_RECOGNIZE"]) {
            return Err(self.error("MATCH_RECOGNIZE is not supported yet"));
        }
        if let Some(alias) = self.alias()? {
            table.alias = Some(alias);
            if self.at_token(&Token::LParen) {
                table.columns = self.ident_list("a column")?;
            }
        }
        table.span = self.span_from(start);
        self.refuse_decorations()?;
        Ok(table)
    }

    fn refuse_decorations(&self) -> Parsed<()> {
        let refused = [
            (
                ["FOR", "SYSTEM_TIME"].as_slice(),
                "FOR SYSTEM_TIME AS OF (a temporal join) is not supported yet",
            ),
            (&["MATCH_RECOGNIZE"], "MATCH_RECOGNIZE is not supported yet"),
            (&["TABLESAMPLE"], "TABLESAMPLE is not supported"),
            (&["PIVOT"], "PIVOT is not supported"),
            (&["UNPIVOT"], "UNPIVOT is not supported"),
        ];
        match refused.iter().find(|(words, _)| self.at_words(words)) {
            Some((_, message)) => Err(self.error(*message)),
            None if self.at_token(&Token::Div) || self.at_words(&["OPTIONS"]) => {
                Err(self.error("hints are not supported"))
            }
            None => Ok(()),
        }
    }

    /// `TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL '1' MINUTE)`, or the same with named arguments in any order.
    fn window_call(&mut self) -> Parsed<WindowCall> {
        let start = self.position();
        let function = self.ident("TUMBLE, HOP, CUMULATE or SESSION")?;
        if !WINDOW_FUNCTIONS.iter().any(|known| function.name.eq_ignore_ascii_case(known)) {
            return Err(ScriptError::new(format!("there is no table function {}", function.name))
                .at(function.span)
                .hint("the table functions are TUMBLE, HOP, CUMULATE and SESSION"));
        }
        self.expect_token(&Token::LParen)?;
        let mut input: Option<(Table, Vec<Ident>)> = None;
        let mut time: Option<Ident> = None;
        let mut args = Vec::new();
        loop {
            let named = self.peek_at(1).token == Token::RArrow;
            let name = if named { Some(self.argument_name()?) } else { None };
            if named {
                self.take();
            }
            let twice = self.error("this argument is given twice");
            if self.at_any(&["TABLE"])
                || self.at_token(&Token::LParen)
                || (input.is_none() && self.at_any(&["SELECT"]))
            {
                check_name(&name, "DATA")?;
                let read = self.window_input()?;
                if input.replace(read).is_some() {
                    return Err(twice);
                }
            } else if self.at_any(&["DESCRIPTOR"]) {
                check_name(&name, "TIMECOL")?;
                self.take();
                let mut columns = self.ident_list("the time column")?;
                if columns.len() != 1 {
                    return Err(twice.hint("DESCRIPTOR names one column here"));
                }
                if time.replace(columns.pop().expect("one")).is_some() {
                    return Err(twice);
                }
            } else if input.is_none() && !named {
                return Err(self.expected("TABLE and a table's name"));
            } else {
                args.push((name, self.expression()?));
            }
            if !self.eat_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        let span = self.span_from(start);
        let missing = |what: &str| {
            ScriptError::new(format!("{} lacks {what}", function.name.to_ascii_uppercase()))
                .at(span)
        };
        let (input, partition_by) =
            input.ok_or_else(|| missing("its table").hint("the first argument is TABLE t"))?;
        let time = time.ok_or_else(|| {
            missing("its time column").hint("the second argument is DESCRIPTOR(ts)")
        })?;
        Ok(WindowCall { function, input, partition_by, time, args, span })
    }

    /// The name before `=>`; OFFSET, a reserved word, is one.
    fn argument_name(&mut self) -> Parsed<Ident> {
        let placed = self.peek();
        match &placed.token {
            Token::Word(word) => {
                self.take();
                Ok(Ident { name: word.value.clone(), span: placed.span() })
            }
            _ => Err(self.expected("an argument's name")),
        }
    }

    /// `TABLE t [PARTITION BY k]` or `(SELECT …)`.
    fn window_input(&mut self) -> Parsed<(Table, Vec<Ident>)> {
        let start = self.position();
        let kind = if self.eat("TABLE") {
            TableKind::Named(self.name("a table")?)
        } else {
            self.table_factor()?.kind
        };
        let table = Table { kind, alias: None, columns: Vec::new(), span: self.span_from(start) };
        let mut partition_by = Vec::new();
        if self.eat_words(&["PARTITION", "BY"]) {
            partition_by = if self.at_token(&Token::LParen) {
                self.ident_list("a column")?
            } else {
                vec![self.ident("a column")?]
            };
        }
        if self.at_any(&["ORDER"]) {
            return Err(self.error("ORDER BY has no meaning for a window's input"));
        }
        Ok((table, partition_by))
    }
}

fn check_name(name: &Option<Ident>, expected: &str) -> Parsed<()> {
    match name {
        Some(name) if !name.name.eq_ignore_ascii_case(expected) => {
            Err(ScriptError::new(format!("this argument is {expected}, not {}", name.name))
                .at(name.span))
        }
        _ => Ok(()),
    }
}
