//! Statements: CREATE, DROP, SET, INSERT, statement sets, EXPLAIN and bare SELECT.

use super::ast::{ColumnDefinition, ColumnKind, CreateTable, Insert, Statement, Text};
use super::cursor::{Cursor, Parsed};
use super::token::{Placed, Token, tokens};
use crate::error::{ScriptError, Span};
use crate::sql::Program;
use crate::sql::near::near_match;

/// The words that statements start with.
const STATEMENTS: [&str; 8] =
    ["CREATE", "INSERT", "SELECT", "SET", "RESET", "DROP", "EXECUTE", "EXPLAIN"];

/// What a script's text yields: the statements that could be read, and what is wrong with the others.
pub(crate) struct Parse {
    /// The statements with their places, in order.
    pub(crate) statements: Vec<(Statement, Span)>,
    /// One error a statement that could not be read.
    pub(crate) errors: Vec<ScriptError>,
    /// The tables and views whose CREATE could not be read.
    pub(crate) broken: Vec<String>,
}

/// Reads the statements of `text`; after an error it goes on behind the next `;`.
pub(crate) fn parse(text: &str, program: &Program) -> Parse {
    let (tokens, lexical) = tokens(text);
    let mut cursor = Cursor::new(&tokens, program);
    let mut parse = Parse { statements: Vec::new(), errors: Vec::new(), broken: Vec::new() };
    loop {
        while cursor.eat_token(&Token::SemiColon) {}
        if cursor.at_token(&Token::EOF) {
            break;
        }
        let start = cursor.position();
        match cursor.statement().and_then(|statement| cursor.end_of_statement().map(|()| statement))
        {
            Ok(statement) => parse.statements.push((statement, cursor.span_from(start))),
            Err(error) => {
                parse.errors.push(error);
                parse.broken.extend(declared_name(&tokens[start..]));
                cursor.recover();
            }
        }
    }
    if let Some(lexical) = lexical {
        // The text behind it is not read, so an error at the end of what was read would be about the same thing.
        let end = cursor.peek().span();
        parse.errors.retain(|error| error.span != Some(end));
        parse.errors.push(lexical);
    }
    parse
}

/// The name that a CREATE declares, as far as it can be told.
fn declared_name(tokens: &[Placed]) -> Option<String> {
    let before = ["CREATE", "TEMPORARY", "TABLE", "VIEW", "IF", "NOT", "EXISTS"];
    if !tokens.first()?.is_word("CREATE") {
        return None;
    }
    let mut rest = tokens.iter().skip_while(|token| before.iter().any(|word| token.is_word(word)));
    match &rest.next()?.token {
        Token::Word(word) => Some(word.value.clone()),
        _ => None,
    }
}

impl Cursor<'_> {
    fn end_of_statement(&self) -> Parsed<()> {
        match self.peek().token {
            Token::SemiColon | Token::EOF => Ok(()),
            Token::RParen => Err(self.error("this ) closes nothing")),
            _ => Err(self.expected("';' or the rest of the statement")),
        }
    }

    fn statement(&mut self) -> Parsed<Statement> {
        let first = self.peek();
        let word = match &first.token {
            Token::Word(word) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
            Token::LParen => "SELECT".into(),
            _ => return Err(self.expected("a statement")),
        };
        match word.as_str() {
            "SELECT" | "WITH" | "VALUES" => Ok(Statement::Select(self.query()?)),
            "INSERT" => Ok(Statement::Insert(Box::new(self.insert()?))),
            "CREATE" => self.create(),
            "DROP" => self.drop_statement(),
            "SET" => self.set(),
            "RESET" => self.reset(),
            "EXECUTE" | "BEGIN" => self.execute(),
            "EXPLAIN" => self.explain(),
            _ => Err(self.refused_statement(&word)),
        }
    }

    fn refused_statement(&self, word: &str) -> ScriptError {
        let (message, hint) = match word {
            "UPDATE" | "DELETE" | "TRUNCATE" | "MERGE" => (
                "changes a stored table, and tables are streams here",
                "write INSERT INTO … SELECT",
            ),
            "ALTER" => ("is not supported", "write the table as it should be in CREATE TABLE"),
            "USE" | "SHOW" | "DESCRIBE" | "DESC" | "LOAD" | "UNLOAD" | "ANALYZE" => (
                "is for interactive sessions",
                "tidemill check and tidemill explain describe a script",
            ),
            "ADD" | "REMOVE" => {
                ("loads jars, and there is no Java here", "use the built-in functions")
            }
            "CALL" | "STOP" | "COMPILE" => ("is not supported", "write INSERT INTO … SELECT"),
            _ => {
                let error = self.expected("a statement");
                return error.hint(match near_match(word, STATEMENTS.into_iter()) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("the statements are {}", STATEMENTS.join(", ")),
                });
            }
        };
        self.error(format!("{word} {message}")).hint(hint)
    }

    /// `EXECUTE STATEMENT SET BEGIN … END`, `EXECUTE INSERT …`, and the older `BEGIN STATEMENT SET; … END`.
    fn execute(&mut self) -> Parsed<Statement> {
        if self.eat("EXECUTE") && !self.at_any(&["STATEMENT"]) {
            return match self.peek() {
                next if next.is_word("INSERT") => Ok(Statement::Insert(Box::new(self.insert()?))),
                next if next.is_word("SELECT") || next.is_word("WITH") => {
                    Ok(Statement::Select(self.query()?))
                }
                next if next.is_word("PLAN") => Err(self.error("EXECUTE PLAN is not supported")),
                _ => Err(self.expected("STATEMENT SET, INSERT or SELECT")),
            };
        }
        let began = self.eat("BEGIN");
        self.expect("STATEMENT")?;
        self.expect("SET")?;
        if began {
            self.expect_token(&Token::SemiColon)?;
        } else {
            self.expect("BEGIN")?;
        }
        let mut inserts = Vec::new();
        while !self.eat("END") {
            while self.eat_token(&Token::SemiColon) {}
            if self.eat("END") {
                break;
            }
            if !self.at_any(&["INSERT"]) {
                return Err(self.expected("INSERT INTO or END"));
            }
            inserts.push(self.insert()?);
            if !self.at_any(&["END"]) {
                self.expect_token(&Token::SemiColon)?;
            }
        }
        if inserts.is_empty() {
            return Err(self.error("this statement set is empty"));
        }
        Ok(Statement::Inserts(inserts))
    }

    fn explain(&mut self) -> Parsed<Statement> {
        self.expect("EXPLAIN")?;
        if !self.eat_words(&["PLAN", "FOR"]) {
            let details =
                ["ESTIMATED_COST", "CHANGELOG_MODE", "JSON_EXECUTION_PLAN", "PLAN_ADVICE"];
            while self.at_any(&details) {
                self.take();
                self.eat_token(&Token::Comma);
            }
        }
        let statement = match self.peek() {
            next if next.is_word("EXECUTE")
                || next.is_word("STATEMENT")
                || next.is_word("BEGIN") =>
            {
                self.eat("EXECUTE");
                self.statement_set_after_execute()?
            }
            next if next.is_word("INSERT") => Statement::Insert(Box::new(self.insert()?)),
            _ => Statement::Select(self.query()?),
        };
        Ok(Statement::Explain(Box::new(statement)))
    }

    fn statement_set_after_execute(&mut self) -> Parsed<Statement> {
        if !self.at_words(&["STATEMENT", "SET"]) {
            return Err(self.expected("STATEMENT SET"));
        }
        self.execute()
    }

    fn set(&mut self) -> Parsed<Statement> {
        self.expect("SET")?;
        if matches!(self.peek().token, Token::SemiColon | Token::EOF) {
            return Err(self
                .error("SET alone lists settings in a session")
                .hint("write SET 'key' = 'value'"));
        }
        let key = self.text("a key")?;
        self.expect_token(&Token::Eq)?;
        let value = self.text("a value")?;
        Ok(Statement::Set { key, value })
    }

    fn reset(&mut self) -> Parsed<Statement> {
        self.expect("RESET")?;
        let all = matches!(self.peek().token, Token::SemiColon | Token::EOF);
        Ok(Statement::Reset { key: if all { None } else { Some(self.text("a key")?) } })
    }

    pub(super) fn insert(&mut self) -> Parsed<Insert> {
        self.expect("INSERT")?;
        if self.at_any(&["OVERWRITE"]) {
            return Err(self.error("INSERT OVERWRITE is for batch jobs").hint("write INSERT INTO"));
        }
        self.expect("INTO")?;
        self.eat("TABLE");
        let table = self.name("a table")?;
        if self.at_any(&["PARTITION"]) {
            return Err(self
                .error("PARTITION (…) is not supported")
                .hint("select the partition's value as a column"));
        }
        if self.at_any(&["OPTIONS"]) || self.at_token(&Token::Div) {
            return Err(self
                .error("hints are not supported")
                .hint("write the options in CREATE TABLE … WITH (…)"));
        }
        let list = self.at_token(&Token::LParen)
            && !["SELECT", "WITH"].iter().any(|word| self.peek_at(1).is_word(word));
        let list = list && self.peek_at(1).token != Token::LParen;
        let columns = if list { self.ident_list("a column")? } else { Vec::new() };
        Ok(Insert { table, columns, query: self.query()? })
    }

    fn drop_statement(&mut self) -> Parsed<Statement> {
        self.expect("DROP")?;
        self.eat("TEMPORARY");
        let view = self.at_any(&["VIEW"]);
        if !(view || self.at_any(&["TABLE"])) {
            return Err(self.error("only DROP TABLE and DROP VIEW are supported"));
        }
        self.take();
        let if_exists = self.eat_words(&["IF", "EXISTS"]);
        Ok(Statement::Drop { view, name: self.name("a name")?, if_exists })
    }

    fn create(&mut self) -> Parsed<Statement> {
        self.expect("CREATE")?;
        if self.at_words(&["OR"]) {
            return Err(self
                .error("CREATE OR REPLACE and CREATE OR ALTER are not supported")
                .hint("write DROP TABLE IF EXISTS before"));
        }
        self.eat("TEMPORARY");
        self.eat("SYSTEM");
        if self.eat("VIEW") {
            return self.create_view();
        }
        if self.eat("TABLE") {
            return Ok(Statement::CreateTable(Box::new(self.create_table()?)));
        }
        let hint = match self.peek() {
            next if next.is_word("FUNCTION") => {
                "use the built-in functions; there is no Java or Python here"
            }
            next if next.is_word("CATALOG") || next.is_word("DATABASE") => {
                "tables live in the script: CREATE TABLE name (…) WITH (…)"
            }
            _ => "write CREATE TABLE or CREATE VIEW",
        };
        Err(self.error("only CREATE TABLE and CREATE VIEW are supported").hint(hint))
    }

    fn create_view(&mut self) -> Parsed<Statement> {
        let if_not_exists = self.eat_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name("a name for the view")?;
        let columns =
            if self.at_token(&Token::LParen) { self.ident_list("a column")? } else { Vec::new() };
        if self.eat("COMMENT") {
            self.text("a comment")?;
        }
        self.expect("AS")?;
        let query = self.query()?;
        Ok(Statement::CreateView { name, columns, query, if_not_exists })
    }

    fn create_table(&mut self) -> Parsed<CreateTable> {
        let if_not_exists = self.eat_words(&["IF", "NOT", "EXISTS"]);
        let name = self.name("a name for the table")?;
        let mut table = CreateTable {
            name,
            if_not_exists,
            columns: Vec::new(),
            watermark: None,
            primary_key: Vec::new(),
            partitioned_by: Vec::new(),
            options: Vec::new(),
            options_span: Span::default(),
        };
        if self.at_any(&["AS"]) {
            return Err(self
                .error("CREATE TABLE … AS is not supported")
                .hint("declare the columns, then INSERT INTO … SELECT"));
        }
        self.expect_token(&Token::LParen)?;
        loop {
            self.table_element(&mut table)?;
            if !self.eat_token(&Token::Comma) {
                break;
            }
        }
        self.expect_token(&Token::RParen)?;
        if self.eat("COMMENT") {
            self.text("a comment")?;
        }
        if self.at_any(&["DISTRIBUTED"]) {
            return Err(self.error("DISTRIBUTED BY is not supported"));
        }
        if self.eat_words(&["PARTITIONED", "BY"]) {
            table.partitioned_by = self.ident_list("a column")?;
        }
        let options_start = self.position();
        if self.eat("WITH") {
            table.options = self.options()?;
        }
        table.options_span =
            if table.options.is_empty() { table.name.span } else { self.span_from(options_start) };
        if self.at_any(&["LIKE", "AS"]) {
            return Err(self
                .error("CREATE TABLE … LIKE and … AS are not supported")
                .hint("declare the columns and options in full"));
        }
        Ok(table)
    }

    fn options(&mut self) -> Parsed<Vec<(Text, Text)>> {
        self.expect_token(&Token::LParen)?;
        let mut options: Vec<(Text, Text)> = Vec::new();
        if !self.at_token(&Token::RParen) {
            options = self.comma_separated(|cursor| {
                let key = cursor.text("an option's key")?;
                cursor.expect_token(&Token::Eq)?;
                Ok((key, cursor.text("an option's value")?))
            })?;
        }
        self.expect_token(&Token::RParen)?;
        for (index, (key, _)) in options.iter().enumerate() {
            if options[..index].iter().any(|(earlier, _)| earlier.value == key.value) {
                return Err(ScriptError::new(format!("the option '{}' is given twice", key.value))
                    .at(key.span));
            }
        }
        Ok(options)
    }

    fn table_element(&mut self, table: &mut CreateTable) -> Parsed<()> {
        let start = self.position();
        if self.eat_words(&["WATERMARK", "FOR"]) {
            let column = self.ident("the rowtime column")?;
            if self.at_token(&Token::Period) {
                return Err(self.error("a field of a ROW cannot be the rowtime"));
            }
            self.expect("AS")?;
            let expr = self.expression()?;
            let span = self.span_from(start);
            if table.watermark.replace((column, expr, span)).is_some() {
                return Err(ScriptError::new("a table has one WATERMARK").at(span));
            }
            return Ok(());
        }
        if self.at_any(&["CONSTRAINT"]) && self.peek_at(1).token != Token::Comma {
            self.take();
            self.ident("a name for the constraint")?;
        }
        if self.at_words(&["PRIMARY", "KEY"]) {
            self.eat_words(&["PRIMARY", "KEY"]);
            let columns = self.ident_list("a column")?;
            return self.primary_key(table, columns);
        }
        if self.at_words(&["UNIQUE"]) && self.peek_at(1).token == Token::LParen {
            return Err(self
                .error("UNIQUE is not supported, in Flink neither")
                .hint("PRIMARY KEY (…) NOT ENFORCED"));
        }
        self.column(table)
    }

    /// `NOT ENFORCED`, behind PRIMARY KEY.
    fn primary_key(
        &mut self,
        table: &mut CreateTable,
        columns: Vec<super::ast::Ident>,
    ) -> Parsed<()> {
        if !self.eat_words(&["NOT", "ENFORCED"]) {
            return Err(self
                .expected("NOT ENFORCED")
                .hint("nothing checks the key, so Flink asks you to say so"));
        }
        if !table.primary_key.is_empty() {
            return Err(ScriptError::new("a table has one PRIMARY KEY").at(columns[0].span));
        }
        table.primary_key = columns;
        Ok(())
    }

    fn column(&mut self, table: &mut CreateTable) -> Parsed<()> {
        let name = self.ident("a column")?;
        if self.eat("AS") {
            let expr = self.expression()?;
            if self.eat("COMMENT") {
                self.text("a comment")?;
            }
            table.columns.push(ColumnDefinition { name, kind: ColumnKind::Computed(expr) });
            return Ok(());
        }
        let data_type = self.data_type()?;
        let mut nullable = true;
        loop {
            if self.eat_words(&["NOT", "NULL"]) {
                nullable = false;
            } else if self.eat("NULL") {
                nullable = true;
            } else if self.eat_words(&["PRIMARY", "KEY"]) {
                self.primary_key(table, vec![name.clone()])?;
            } else if self.eat("COMMENT") {
                self.text("a comment")?;
            } else if self.at_any(&["METADATA"]) {
                return Err(self
                    .error("metadata columns are not supported")
                    .hint("leave the column out"));
            } else if self.at_any(&[
                "CONSTRAINT",
                "UNIQUE",
                "DEFAULT",
                "CHECK",
                "REFERENCES",
                "COLLATE",
            ]) {
                return Err(self.error("this constraint is not supported"));
            } else {
                break;
            }
        }
        table
            .columns
            .push(ColumnDefinition { name, kind: ColumnKind::Physical { data_type, nullable } });
        Ok(())
    }
}
