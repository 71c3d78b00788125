//! The syntax tree of a script: what was written, each node with its place, nothing resolved.

use crate::batch::DataType;
use crate::error::Span;
use crate::sql::program::Given;

/// A name as written, without its quotes.
#[derive(Clone, Debug)]
pub(crate) struct Ident {
    pub(crate) name: String,
    pub(crate) span: Span,
}

/// A possibly qualified name, never empty.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) parts: Vec<Ident>,
    pub(crate) span: Span,
}

impl Name {
    /// The last part: the column's or table's own name.
    pub(crate) fn last(&self) -> &Ident {
        self.parts.last().expect("a name has a part")
    }

    /// As written, without quotes.
    pub(crate) fn text(&self) -> String {
        self.parts.iter().map(|part| part.name.as_str()).collect::<Vec<_>>().join(".")
    }
}

/// A string with its place.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) value: String,
    pub(crate) span: Span,
}

/// An expression.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
    /// The height of this tree; bounded by the parser, so that walking it cannot overflow the stack.
    pub(crate) height: usize,
}

impl Expr {
    /// A node over its children.
    pub(crate) fn new(kind: ExprKind, span: Span) -> Self {
        let height = 1 + kind.children().iter().map(|child| child.height).max().unwrap_or(0);
        Self { kind, span, height }
    }
}

impl ExprKind {
    /// The expressions directly below.
    pub(crate) fn children(&self) -> Vec<&Expr> {
        match self {
            ExprKind::Operator(_, args) | ExprKind::Tuple(args) => args.iter().collect(),
            ExprKind::Call(call) => call.args.iter().chain(call.filter.as_deref()).collect(),
            ExprKind::Cast { input, .. } => vec![input],
            ExprKind::Case { operand, branches, otherwise } => operand
                .as_deref()
                .into_iter()
                .chain(branches.iter().flat_map(|(when, then)| [when, then]))
                .chain(otherwise.as_deref())
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// What an expression is.
#[derive(Clone, Debug)]
pub(crate) enum ExprKind {
    /// A column.
    Column(Name),
    /// NULL, TRUE, FALSE.
    Null,
    Boolean(bool),
    /// Digits as written.
    Number(String),
    /// A string.
    String(String),
    /// X'…'.
    Bytes(Vec<u8>),
    /// DATE, TIME, TIMESTAMP followed by a string.
    Typed(TimeLiteral, String),
    /// An interval: milliseconds or months, and the field that Flink's precision limits (digits given, digits allowed).
    Interval {
        value: i64,
        data_type: DataType,
        too_long: Option<String>,
    },
    /// An operator, or a function with a syntax of its own, by its canonical name.
    Operator(&'static str, Vec<Expr>),
    /// A function call.
    Call(Call),
    /// CAST, TRY_CAST.
    Cast {
        input: Box<Expr>,
        target: DataType,
        try_cast: bool,
    },
    /// CASE, with its operand.
    Case {
        operand: Option<Box<Expr>>,
        branches: Vec<(Expr, Expr)>,
        otherwise: Option<Box<Expr>>,
    },
    /// (a, b): in GROUP BY, or a row constructor.
    Tuple(Vec<Expr>),
    /// A unit such as DAY as an argument.
    Unit(String),
}

/// Which type a string literal is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeLiteral {
    Date,
    Time,
    Timestamp,
}

/// A function call with the usual syntax.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: Ident,
    pub(crate) args: Vec<Expr>,
    /// `f(*)`.
    pub(crate) star: bool,
    pub(crate) distinct: bool,
    pub(crate) filter: Option<Box<Expr>>,
    /// The program's function of this name.
    pub(crate) given: Option<Given>,
}

/// A query with its CTEs.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) ctes: Vec<Cte>,
    pub(crate) body: Body,
    pub(crate) limit: Option<(u64, Span)>,
    pub(crate) span: Span,
}

/// One WITH entry.
#[derive(Clone, Debug)]
pub(crate) struct Cte {
    pub(crate) name: Ident,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Query,
}

/// What a query consists of.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Select(Box<Select>),
    UnionAll(Vec<Body>),
    Query(Box<Query>),
}

/// SELECT … FROM … WHERE … GROUP BY … HAVING.
#[derive(Clone, Debug)]
pub(crate) struct Select {
    pub(crate) distinct: Option<Span>,
    pub(crate) items: Vec<Item>,
    pub(crate) from: Table,
    pub(crate) filter: Option<Expr>,
    pub(crate) group_by: Option<(Vec<Group>, Span)>,
    pub(crate) having: Option<Expr>,
    pub(crate) span: Span,
}

/// One of the select list.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Star(Span),
    QualifiedStar(Ident),
    Expr(Expr, Option<Ident>),
}

/// One of GROUP BY.
#[derive(Clone, Debug)]
pub(crate) enum Group {
    Expr(Expr),
    /// Each set's expressions.
    Sets(Vec<Vec<Expr>>, Span),
}

/// A relation in FROM.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    pub(crate) kind: TableKind,
    pub(crate) alias: Option<Ident>,
    pub(crate) columns: Vec<Ident>,
    pub(crate) span: Span,
}

/// What is read.
#[derive(Clone, Debug)]
pub(crate) enum TableKind {
    Named(Name),
    Query(Box<Query>),
    Window(Box<WindowCall>),
}

/// TABLE(TUMBLE(…)) and its kin.
#[derive(Clone, Debug)]
pub(crate) struct WindowCall {
    pub(crate) function: Ident,
    pub(crate) input: Table,
    pub(crate) partition_by: Vec<Ident>,
    pub(crate) time: Ident,
    /// The intervals after the time column, with their names if named.
    pub(crate) args: Vec<(Option<Ident>, Expr)>,
    pub(crate) span: Span,
}

/// A statement.
#[derive(Clone, Debug)]
pub(crate) enum Statement {
    CreateTable(Box<CreateTable>),
    CreateView { name: Name, columns: Vec<Ident>, query: Query, if_not_exists: bool },
    Drop { view: bool, name: Name, if_exists: bool },
    Set { key: Text, value: Text },
    Reset { key: Option<Text> },
    Insert(Box<Insert>),
    Inserts(Vec<Insert>),
    Select(Query),
    Explain(Box<Statement>),
}

/// INSERT INTO t (columns) query.
#[derive(Clone, Debug)]
pub(crate) struct Insert {
    pub(crate) table: Name,
    pub(crate) columns: Vec<Ident>,
    pub(crate) query: Query,
}

/// CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct CreateTable {
    pub(crate) name: Name,
    pub(crate) if_not_exists: bool,
    pub(crate) columns: Vec<ColumnDefinition>,
    pub(crate) watermark: Option<(Ident, Expr, Span)>,
    pub(crate) primary_key: Vec<Ident>,
    pub(crate) partitioned_by: Vec<Ident>,
    pub(crate) options: Vec<(Text, Text)>,
    pub(crate) options_span: Span,
}

/// One column of CREATE TABLE.
#[derive(Clone, Debug)]
pub(crate) struct ColumnDefinition {
    pub(crate) name: Ident,
    pub(crate) kind: ColumnKind,
}

/// Stored or computed.
#[derive(Clone, Debug)]
pub(crate) enum ColumnKind {
    Physical { data_type: DataType, nullable: bool },
    Computed(Expr),
}
