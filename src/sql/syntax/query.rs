//! Queries: WITH, SELECT, UNION ALL, and what follows them.

use super::ast::{Body, Cte, Expr, ExprKind, Group, Item, Query, Select};
use super::cursor::{Cursor, Parsed};
use super::token::Token;
use crate::error::ScriptError;

impl Cursor<'_> {
    /// A query with its WITH and LIMIT.
    pub(crate) fn query(&mut self) -> Parsed<Query> {
        self.nested(|cursor| {
            let start = cursor.position();
            let mut ctes = Vec::new();
            if cursor.eat("WITH") {
                if cursor.at_any(&["RECURSIVE"]) {
                    return Err(cursor.error("WITH RECURSIVE is not supported, in Flink neither"));
                }
                ctes = cursor.comma_separated(Cursor::cte)?;
            }
            let body = cursor.body()?;
            cursor.refuse_order_by()?;
            let mut limit = None;
            if cursor.at_any(&["LIMIT"]) {
                let limit_start = cursor.position();
                cursor.take();
                let count = cursor.number("a number of rows", 0, i64::MAX as u64)?;
                limit = Some((count, cursor.span_from(limit_start)));
            }
            if cursor.at_any(&["OFFSET", "FETCH"]) {
                return Err(cursor
                    .error("OFFSET and FETCH are not supported")
                    .hint("LIMIT n ends a SELECT after n rows"));
            }
            Ok(Query { ctes, body, limit, span: cursor.span_from(start) })
        })
    }

    fn cte(&mut self) -> Parsed<Cte> {
        let name = self.ident("a name for the query")?;
        let columns =
            if self.at_token(&Token::LParen) { self.ident_list("a column")? } else { Vec::new() };
        self.expect("AS")?;
        self.expect_token(&Token::LParen)?;
        let query = self.query()?;
        self.expect_token(&Token::RParen)?;
        Ok(Cte { name, columns, query })
    }

    fn body(&mut self) -> Parsed<Body> {
        let mut parts = vec![self.term()?];
        loop {
            if self.at_any(&["UNION"]) {
                let union = self.peek().span();
                self.take();
                if !self.eat("ALL") {
                    return Err(ScriptError::new("UNION without ALL removes duplicates over all of time, which needs unbounded state")
                        .at(union)
                        .hint("write UNION ALL, or SELECT DISTINCT within a window"));
                }
                parts.push(self.term()?);
            } else if self.at_any(&["INTERSECT", "EXCEPT", "MINUS"]) {
                return Err(self
                    .error("INTERSECT and EXCEPT are not supported")
                    .hint("filter with WHERE, or aggregate in a window"));
            } else {
                break;
            }
        }
        Ok(if parts.len() == 1 { parts.pop().expect("one") } else { Body::UnionAll(parts) })
    }

    fn term(&mut self) -> Parsed<Body> {
        if self.at_token(&Token::LParen) {
            self.take();
            let query = self.query()?;
            self.expect_token(&Token::RParen)?;
            return Ok(Body::Query(Box::new(query)));
        }
        if self.at_any(&["VALUES"]) {
            return Err(self.error("VALUES is not supported").hint(
                "read the rows from a table: 'connector' = 'filesystem', 'stdin' or 'datagen'",
            ));
        }
        Ok(Body::Select(Box::new(self.select()?)))
    }

    fn select(&mut self) -> Parsed<Select> {
        let start = self.position();
        if !self.at_any(&["SELECT"]) {
            return Err(self.expected("SELECT"));
        }
        self.take();
        if self.at_any(&["STREAM"])
            && self.peek_at(1).token != Token::Comma
            && !self.peek_at(1).is_word("FROM")
        {
            return Err(self
                .error("SELECT STREAM is no Flink SQL: every table is a stream")
                .hint("write SELECT"));
        }
        let distinct = self.at_any(&["DISTINCT"]).then(|| self.take().span());
        if distinct.is_none() {
            self.eat("ALL");
        }
        let items = self.comma_separated(Cursor::item)?;
        if !self.at_any(&["FROM"]) {
            return Err(match self.peek().token {
                Token::EOF | Token::SemiColon | Token::RParen => self
                    .error("a SELECT without FROM is not supported")
                    .hint("read from a table: SELECT … FROM t"),
                _ => self.expected("FROM or ','"),
            });
        }
        self.take();
        let from = self.table()?;
        let filter = if self.eat("WHERE") { Some(self.expression()?) } else { None };
        let group_by = self.group_by()?;
        let having = if self.eat("HAVING") { Some(self.expression()?) } else { None };
        if self.at_any(&["WINDOW", "QUALIFY"]) {
            return Err(self.error("OVER windows are not supported yet").hint(
                "aggregate in a window: FROM TABLE(TUMBLE(…)) GROUP BY window_start, window_end",
            ));
        }
        Ok(Select { distinct, items, from, filter, group_by, having, span: self.span_from(start) })
    }

    fn item(&mut self) -> Parsed<Item> {
        let start = self.position();
        if self.eat_token(&Token::Mul) {
            return Ok(Item::Star(self.span_from(start)));
        }
        let star = self.peek_at(1).token == Token::Period && self.peek_at(2).token == Token::Mul;
        if star {
            let table = self.ident("a table")?;
            self.take();
            self.take();
            return Ok(Item::QualifiedStar(table));
        }
        let expr = self.expression()?;
        let alias = self.alias()?;
        Ok(Item::Expr(expr, alias))
    }

    /// `AS name`, `name`, or nothing.
    pub(super) fn alias(&mut self) -> Parsed<Option<super::ast::Ident>> {
        if self.eat("AS") {
            return Ok(Some(self.ident("a name")?));
        }
        match &self.peek().token {
            Token::Word(word)
                if word.quote_style.is_some() || !super::reserved::is_reserved(&word.value) =>
            {
                Ok(Some(self.ident("a name")?))
            }
            _ => Ok(None),
        }
    }

    fn refuse_order_by(&mut self) -> Parsed<()> {
        if self.at_any(&["ORDER"]) {
            return Err(self
                .error("ORDER BY would wait for the end of the stream")
                .hint("rows come in the order of their windows; sort the output, for example with sort(1)"));
        }
        Ok(())
    }

    fn group_by(&mut self) -> Parsed<Option<(Vec<Group>, crate::error::Span)>> {
        let start = self.position();
        if !self.eat("GROUP") {
            return Ok(None);
        }
        self.expect("BY")?;
        if self.at_any(&["DISTINCT", "ALL"]) {
            return Err(self
                .error("GROUP BY DISTINCT and GROUP BY ALL are not supported")
                .hint("list the columns"));
        }
        let groups = self.comma_separated(Cursor::group)?;
        Ok(Some((groups, self.span_from(start))))
    }

    fn group(&mut self) -> Parsed<Group> {
        let start = self.position();
        if self.eat_words(&["GROUPING", "SETS"]) {
            self.expect_token(&Token::LParen)?;
            let sets = self.comma_separated(Cursor::grouping_element)?;
            self.expect_token(&Token::RParen)?;
            return Ok(Group::Sets(sets.into_iter().flatten().collect(), self.span_from(start)));
        }
        let sets = match self.cube_or_rollup()? {
            Some(sets) => sets,
            None if self.at_token(&Token::LParen) && self.peek_at(1).token == Token::RParen => {
                self.take();
                self.take();
                vec![Vec::new()]
            }
            None => return Ok(Group::Expr(self.expression()?)),
        };
        Ok(Group::Sets(sets, self.span_from(start)))
    }

    /// CUBE (…) or ROLLUP (…), spelled out as sets.
    fn cube_or_rollup(&mut self) -> Parsed<Option<Vec<Vec<Expr>>>> {
        let cube = self.at_any(&["CUBE"]);
        if !(cube || self.at_any(&["ROLLUP"])) {
            return Ok(None);
        }
        let word = self.take().span();
        self.expect_token(&Token::LParen)?;
        let parts: Vec<Vec<Expr>> =
            self.comma_separated(Cursor::expression)?.into_iter().map(as_set).collect();
        self.expect_token(&Token::RParen)?;
        if parts.len() > 10 {
            return Err(ScriptError::new("CUBE and ROLLUP take at most 10 columns")
                .at(word)
                .hint("write GROUPING SETS (…)"));
        }
        let join = |keep: &dyn Fn(usize) -> bool| -> Vec<Expr> {
            let kept = parts.iter().enumerate().filter(|(index, _)| keep(*index));
            kept.flat_map(|(_, part)| part.iter().cloned()).collect()
        };
        let count = parts.len();
        Ok(Some(if cube {
            (0..1_usize << count)
                .map(|skipped| join(&|index| skipped >> (count - 1 - index) & 1 == 0))
                .collect()
        } else {
            (0..=count).rev().map(|length| join(&|index| index < length)).collect()
        }))
    }

    /// One element of GROUPING SETS: `(a, b)`, `a`, `()`, or a nested CUBE, ROLLUP or GROUPING SETS.
    fn grouping_element(&mut self) -> Parsed<Vec<Vec<Expr>>> {
        self.nested(|cursor| {
            if cursor.eat_words(&["GROUPING", "SETS"]) {
                cursor.expect_token(&Token::LParen)?;
                let sets = cursor.comma_separated(Cursor::grouping_element)?;
                cursor.expect_token(&Token::RParen)?;
                return Ok(sets.into_iter().flatten().collect());
            }
            if let Some(sets) = cursor.cube_or_rollup()? {
                return Ok(sets);
            }
            if cursor.at_token(&Token::LParen) && cursor.peek_at(1).token == Token::RParen {
                cursor.take();
                cursor.take();
                return Ok(vec![Vec::new()]);
            }
            Ok(vec![as_set(cursor.expression()?)])
        })
    }
}

/// `(a, b)` is two columns; anything else is one.
fn as_set(expr: Expr) -> Vec<Expr> {
    match expr.kind {
        ExprKind::Tuple(list) => list,
        _ => vec![expr],
    }
}
