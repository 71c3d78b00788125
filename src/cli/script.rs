//! The script that a command is about: where it comes from, what it binds to, and all that is wrong with it.

use std::fs;
use std::io::Read;

use anyhow::{Context, anyhow};
use clap::Args;

use super::Exit;
use super::terminal::complain;
use crate::connector::Output;
use crate::error::ScriptError;
use crate::job;
use crate::sql::Script;

/// Which script, and what overrides it.
#[derive(Args)]
pub(super) struct ScriptArgs {
    /// The script's file; - reads it from stdin
    #[arg(value_name = "JOB.sql", required_unless_present = "sql", conflicts_with = "sql")]
    job: Option<String>,

    /// The script itself
    #[arg(short = 'e', value_name = "SQL")]
    sql: Option<String>,

    /// Override or add an option of a table's WITH clause (repeatable)
    #[arg(long = "table", value_name = "NAME.OPTION=VALUE", value_parser = parse_table_option)]
    tables: Vec<(String, String)>,

    /// Set a key as SET does; wins over the script (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = parse_setting)]
    settings: Vec<(String, String)>,
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.to_owned()))
        }
        _ => Err("write KEY=VALUE, such as parallelism.default=2".into()),
    }
}

fn parse_table_option(text: &str) -> Result<(String, String), String> {
    let wrong = || "write NAME.OPTION=VALUE, such as clicks.path=today.csv".to_owned();
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let (table, option) = key.split_once('.').ok_or_else(wrong)?;
    if table.is_empty() || option.is_empty() {
        return Err(wrong());
    }
    Ok((format!("tidemill.table.{table}.{option}"), value.to_owned()))
}

/// A script's text and its name in messages.
pub(super) struct Text {
    /// A path, `<stdin>` or `<command line>`.
    pub(super) name: String,
    text: String,
    overrides: Vec<(String, String)>,
}

impl ScriptArgs {
    /// Reads the script.
    pub(super) fn read(&self) -> Result<Text, Exit> {
        let (name, bytes) = match (&self.sql, self.job.as_deref()) {
            (Some(sql), _) => ("<command line>".to_owned(), sql.clone().into_bytes()),
            (None, None | Some("-")) => {
                let mut bytes = Vec::new();
                let read = std::io::stdin().lock().read_to_end(&mut bytes);
                read.context("cannot read the script from stdin").map_err(Exit::wrong)?;
                ("<stdin>".to_owned(), bytes)
            }
            (None, Some(path)) => {
                let bytes =
                    fs::read(path).with_context(|| format!("cannot read the script '{path}'"));
                (path.to_owned(), bytes.map_err(Exit::wrong)?)
            }
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let place = error.utf8_error().valid_up_to();
            Exit::wrong(anyhow!("{name}: not UTF-8 text, from byte {place} on"))
        })?;
        // Editors of some systems begin a file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned);
        let overrides = self.settings.iter().chain(&self.tables).cloned().collect();
        Ok(Text { name, text, overrides })
    }
}

impl Text {
    /// Binds the script; shows its errors, or its warnings unless `quiet`.
    pub(super) fn bind(&self, output: &Output, quiet: bool) -> Result<Script, Exit> {
        match job::bind(&self.text, output, &self.overrides) {
            Ok(script) => {
                if !quiet {
                    self.show("warning", &script.warnings);
                }
                Ok(script)
            }
            Err(errors) => {
                self.show("error", &errors);
                Err(Exit::said(2))
            }
        }
    }

    /// Shows remarks about the script on stderr, each under the word `kind`.
    pub(super) fn show(&self, kind: &str, remarks: &[ScriptError]) {
        remarks.iter().for_each(|remark| complain(&self.render(kind, remark)));
    }

    /// A remark with its place, under the word `kind`, and an empty line.
    pub(super) fn render(&self, kind: &str, remark: &ScriptError) -> String {
        let text = remark.render(&self.name, &self.text);
        let rest = text.strip_prefix("error").unwrap_or(&text);
        format!("{kind}{rest}\n")
    }
}
