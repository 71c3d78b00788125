//! The statements of a script, one after another, each bound by itself so that one error hides no other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Notes;
use super::query::{Ctes, Named, Relation};
use super::scope::Scope;
use super::settings::Configuration;
use super::table::{SharedTable, Table, create};
use crate::error::{ScriptError, Span};
use crate::plan::{Node, NodeIndex, Op, Plan, Settings, explain, optimise};
use crate::sql::near::near_match;
use crate::sql::syntax::ast::{Ident, Insert, Name, Query, Statement};
use crate::sql::syntax::parse;
use crate::sql::{Connectors, Script};

/// What is known while a script is bound.
pub(crate) struct Binder<'c> {
    pub(crate) catalog: &'c dyn Connectors,
    pub(crate) configuration: Configuration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) notes: Notes,
    pub(crate) views: BTreeMap<String, Arc<Named>>,
    pub(crate) print_sinks: BTreeSet<String>,
    pub(crate) select_count: usize,
    /// Whether a bare SELECT has updates.
    pub(crate) select_changes: bool,
    /// How many views and WITH queries are being expanded, one in another.
    pub(crate) depth: usize,
    tables: BTreeMap<String, SharedTable>,
    /// The scans by table; a table that is dropped or overridden anew is scanned anew.
    scans: BTreeMap<String, (crate::format::Options, NodeIndex)>,
    /// The job's settings as the first query saw them.
    settings: Option<Settings>,
    explains: Vec<String>,
    /// Names that could not be declared, so that their uses need no error of their own.
    broken: BTreeSet<String>,
}

/// Binds a script; see [`crate::sql::bind_script`].
pub(crate) fn bind_script(
    text: &str,
    catalog: &dyn Connectors,
    overrides: &[(String, String)],
) -> Result<Script, Vec<ScriptError>> {
    let parsed = parse(text, catalog.program());
    let mut errors = parsed.errors;
    let mut notes = Notes::default();
    let configuration = Configuration::new(overrides, &mut notes, &mut errors);
    let given = &catalog.program().tables;
    let given = given.iter().map(|(name, table)| (name, Arc::new(Table::given(name, table))));
    let mut binder = Binder {
        catalog,
        configuration,
        nodes: Vec::new(),
        notes,
        views: BTreeMap::new(),
        print_sinks: BTreeSet::new(),
        select_count: 0,
        select_changes: false,
        depth: 0,
        tables: given.map(|(name, table)| (name.clone(), table)).collect(),
        scans: BTreeMap::new(),
        settings: None,
        explains: Vec::new(),
        broken: parsed.broken.into_iter().collect(),
    };
    for (statement, span) in &parsed.statements {
        binder.statement(statement, *span, &mut errors);
    }
    binder.check_overridden_tables(&mut errors);
    let runs = binder.nodes.iter().any(|node| matches!(node.op, Op::Sink { .. }))
        || !binder.explains.is_empty();
    if errors.is_empty() && !runs {
        errors.push(
            ScriptError::new("the script starts nothing")
                .hint("end it with INSERT INTO … SELECT … or a SELECT"),
        );
    }
    if !errors.is_empty() {
        errors.sort_by_key(|error| error.span.map(|span| (span.line, span.column)));
        errors.dedup();
        return Err(errors);
    }
    let settings = binder.settings.unwrap_or_else(|| binder.configuration.plan_settings());
    Ok(Script {
        plan: optimise(Plan { nodes: binder.nodes, settings }),
        warnings: binder.notes.warnings,
        flink_refusals: binder.notes.flink_refusals,
        print_sink_count: binder.print_sinks.len() + binder.select_count,
        select_changes: binder.select_changes,
        explains: binder.explains,
    })
}

impl Binder<'_> {
    fn statement(&mut self, statement: &Statement, span: Span, errors: &mut Vec<ScriptError>) {
        let outcome = match statement {
            Statement::Set { key, value } => self.configuration.set(
                &key.value,
                &value.value,
                (key.span, value.span),
                &mut self.notes,
            ),
            Statement::Reset { key } => {
                self.configuration.reset(key.as_ref().map(|key| key.value.as_str()));
                Ok(())
            }
            Statement::CreateTable(table) => {
                self.declare(&table.name, table.if_not_exists, |binder, name| {
                    let table = create(table, name.clone(), &mut binder.notes)?;
                    // As written: what overrides options is ours, and means nothing to Flink.
                    for refusal in binder.catalog.flink_refusals(&table.written_options()) {
                        let refusal = table.option_error(refusal, &Configuration::default());
                        binder.notes.flink_refuses(refusal);
                    }
                    binder.tables.insert(name, Arc::new(table));
                    Ok(())
                })
            }
            Statement::CreateView { name, columns, query, if_not_exists } => {
                self.declare(name, *if_not_exists, |binder, key| {
                    binder.create_view(key, columns, query)
                })
            }
            Statement::Drop { view, name, if_exists } => {
                self.drop_declared(*view, name, *if_exists)
            }
            Statement::Insert(insert) => self.job(span, |binder| binder.insert(insert)),
            Statement::Select(query) => self.job(span, |binder| binder.bare_select(query)),
            Statement::Inserts(inserts) => {
                for insert in inserts {
                    self.in_set(insert, span, errors);
                }
                Ok(())
            }
            Statement::Explain(inner) => self.explain(inner, span, errors),
        };
        // Uses of what could not be declared are not worth a second error.
        let is_echo = |error: &ScriptError| error.message.is_empty();
        errors.extend(outcome.err().filter(|error| !is_echo(error)));
        errors.retain(|error| !is_echo(error));
    }

    fn in_set(&mut self, insert: &Insert, span: Span, errors: &mut Vec<ScriptError>) {
        errors.extend(self.job(span, |binder| binder.insert(insert)).err());
    }

    /// Binds something that runs; on an error, nothing of it stays.
    fn job(
        &mut self,
        span: Span,
        bind: impl FnOnce(&mut Self) -> Result<(), ScriptError>,
    ) -> Result<(), ScriptError> {
        let settings = self.configuration.plan_settings();
        let first = self.settings.get_or_insert_with(|| settings.clone());
        if !same_settings(first, &settings) {
            return Err(ScriptError::new("a setting of the whole job changes between its queries")
                .at(span)
                .hint("set parallelism.default, table.local-time-zone, idle-timeout and the like before the first query"));
        }
        let node_count = self.nodes.len();
        let scans = self.scans.clone();
        let outcome = bind(self);
        self.depth = 0;
        if outcome.is_err() {
            self.nodes.truncate(node_count);
            self.scans = scans;
        }
        outcome
    }

    /// Declares a table or a view under a name that must be free.
    fn declare(
        &mut self,
        name: &Name,
        if_not_exists: bool,
        bind: impl FnOnce(&mut Self, String) -> Result<(), ScriptError>,
    ) -> Result<(), ScriptError> {
        let key = self.table_name(name)?;
        if self.tables.contains_key(&key) || self.views.contains_key(&key) {
            if if_not_exists {
                return Ok(());
            }
            return Err(ScriptError::new(format!("'{key}' exists already"))
                .at(name.span)
                .hint("DROP it before, or write IF NOT EXISTS"));
        }
        let outcome = bind(self, key.clone());
        match outcome {
            Ok(()) => drop(self.broken.remove(&key)),
            Err(_) => drop(self.broken.insert(key)),
        }
        outcome
    }

    /// A view is bound where it is used; here only to find its errors.
    fn create_view(
        &mut self,
        key: String,
        columns: &[Ident],
        query: &Query,
    ) -> Result<(), ScriptError> {
        let node_count = self.nodes.len();
        let scans = self.scans.clone();
        let bound = self.query(query, &Ctes::new());
        self.depth = 0;
        self.nodes.truncate(node_count);
        self.scans = scans;
        let relation = bound?;
        if !columns.is_empty() && columns.len() != relation.scope.fields.len() {
            return Err(ScriptError::new(format!(
                "the view names {} columns, and its query gives {}",
                columns.len(),
                relation.scope.fields.len()
            ))
            .at(columns[0].span));
        }
        let names: Vec<&str> =
            relation.scope.fields.iter().map(|field| field.name.as_str()).collect();
        for (index, name) in names.iter().enumerate() {
            if columns.is_empty() && names[..index].contains(name) {
                return Err(ScriptError::new(format!("the view has two columns '{name}'"))
                    .at(query.span)
                    .hint("rename one of them: SELECT a AS b"));
            }
        }
        let named = Named { query: query.clone(), columns: columns.to_vec(), ctes: Ctes::new() };
        self.views.insert(key, Arc::new(named));
        Ok(())
    }

    fn drop_declared(
        &mut self,
        view: bool,
        name: &Name,
        if_exists: bool,
    ) -> Result<(), ScriptError> {
        let key = self.table_name(name)?;
        let dropped = if view {
            self.views.remove(&key).is_some()
        } else {
            self.tables.remove(&key).is_some()
        };
        self.scans.remove(&key);
        if dropped || if_exists || self.broken.contains(&key) {
            return Ok(());
        }
        let kind = if view { "view" } else { "table" };
        Err(ScriptError::new(format!("there is no {kind} '{key}' to drop"))
            .at(name.span)
            .hint("write IF EXISTS"))
    }

    fn explain(
        &mut self,
        inner: &Statement,
        span: Span,
        errors: &mut Vec<ScriptError>,
    ) -> Result<(), ScriptError> {
        let nodes = std::mem::take(&mut self.nodes);
        let scans = std::mem::take(&mut self.scans);
        let (print_sinks, select_count) = (self.print_sinks.clone(), self.select_count);
        let select_changes = self.select_changes;
        self.statement(inner, span, errors);
        let explained = std::mem::replace(&mut self.nodes, nodes);
        (self.scans, self.print_sinks, self.select_count) = (scans, print_sinks, select_count);
        self.select_changes = select_changes;
        if !explained.is_empty() {
            let plan = Plan { nodes: explained, settings: self.configuration.plan_settings() };
            self.explains.push(explain(&optimise(plan)));
        }
        Ok(())
    }

    /// A table's name without the default catalog and database.
    pub(crate) fn table_name(&self, name: &Name) -> Result<String, ScriptError> {
        let parts: Vec<&str> = name.parts.iter().map(|part| part.name.as_str()).collect();
        match parts.as_slice() {
            [table]
            | ["default_database", table]
            | ["default_catalog", "default_database", table] => Ok((*table).to_string()),
            _ => Err(ScriptError::new(format!(
                "there is no catalog or database for '{}'",
                name.text()
            ))
            .at(name.span)
            .hint("tables live in the script: write the table's name alone")),
        }
    }

    /// The declared table `key`.
    pub(crate) fn table(&self, key: &str, name: &Name) -> Result<SharedTable, ScriptError> {
        if let Some(table) = self.tables.get(key) {
            return Ok(table.clone());
        }
        if self.broken.contains(key) {
            return Err(ScriptError::new("").at(name.span));
        }
        if self.views.contains_key(key) {
            return Err(ScriptError::new(format!("'{key}' is a view, and views take no rows"))
                .at(name.span));
        }
        let error = ScriptError::new(format!("there is no table '{key}'")).at(name.span);
        let known = self.tables.keys().chain(self.views.keys()).map(String::as_str);
        Err(match near_match(key, known) {
            Some(near) => error.hint(format!("did you mean '{near}'?")),
            None => error.hint("declare it before: CREATE TABLE … WITH ('connector' = …)"),
        })
    }

    /// The scan of a table; one operator however often the script reads it.
    pub(crate) fn scan(&mut self, key: &str, name: &Name) -> Result<Relation, ScriptError> {
        let table = self.table(key, name)?;
        let options = table.options(&self.configuration);
        let fields = table.declared.fields.to_vec();
        let scope = Scope { fields: fields.clone(), qualifier: None };
        let known =
            self.scans.get(key).filter(|(known, _)| *known == options).map(|(_, node)| *node);
        let node = match known {
            Some(node) => node,
            None => {
                let source = match &table.source {
                    Some(given) => Arc::clone(given),
                    None => self
                        .catalog
                        .source(&options, &table.physical)
                        .map_err(|error| table.option_error(error, &self.configuration))?,
                };
                let op = Op::Scan {
                    table: table.name.clone(),
                    source,
                    physical: table.physical.clone(),
                    columns: table.columns.clone(),
                    watermark: table.watermark.clone(),
                };
                let node = self.add(op, fields);
                self.scans.insert(key.to_string(), (options, node));
                node
            }
        };
        Ok(Relation { node, scope, window: None, changes: false })
    }

    /// `tidemill.table.NAME.…` must name a table of the script.
    fn check_overridden_tables(&self, errors: &mut Vec<ScriptError>) {
        for (name, span) in self.configuration.table_names() {
            let table = self.tables.get(&name);
            let is_given = table.is_some_and(|table| table.source.is_some());
            if (table.is_some() && !is_given) || self.broken.contains(&name) {
                continue;
            }
            let why = match is_given {
                true => format!("the program's table '{name}' has no options"),
                false => format!("the script has no table '{name}'"),
            };
            let mut error =
                ScriptError::new(format!("'tidemill.table.{name}.…' is set, and {why}"));
            error.span = span;
            let known = self.tables.keys().map(String::as_str).filter(|known| *known != name);
            if let Some(near) = near_match(&name, known) {
                error = error.hint(format!("did you mean '{near}'?"));
            }
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
    }
}

fn same_settings(a: &Settings, b: &Settings) -> bool {
    a.shards == b.shards
        && a.time_zone == b.time_zone
        && a.idle_timeout_ms == b.idle_timeout_ms
        && a.dead_letter_path == b.dead_letter_path
        && a.chunk_bytes == b.chunk_bytes
}
