//! `plan docs`.

use std::{fmt::Write as _, io::Write, sync::Arc};

use clap::Args;
use plan::{
    Bundle,
    descriptor::{Method, Namespace, Server},
    schema::Schemas,
};
use serde_json::{Map, Value};

use super::{Failure, Roots};
use crate::snapshot::PlanKey;

/// Print what users of a plan should know, as Markdown.
#[derive(Debug, Args)]
pub struct Docs {
    /// The plan, as `<service provider>/<plan>`; all of them if it is left out.
    #[arg(long, value_parser = super::key)]
    plan: Option<PlanKey>,
    #[command(flatten)]
    roots: Roots,
}

impl Docs {
    pub(super) fn run(&self, out: &mut impl Write, err: &mut impl Write) -> Result<(), Failure> {
        let plans = self.roots.plans()?;
        let described: Vec<&Arc<Bundle>> = match &self.plan {
            Some(wanted) => vec![plans.wanted(wanted, &self.roots, err)?],
            None => plans.catalog.plans.iter().collect(),
        };
        let pages: Vec<String> = described.into_iter().map(|bundle| page(bundle)).collect();
        out.write_all(pages.join("\n").as_bytes())?;
        if self.plan.is_some() || plans.faults.is_empty() {
            return Ok(());
        }
        self.roots.print(&plans.faults, err)?;
        Err(Failure::Faults)
    }
}

fn page(bundle: &Bundle) -> String {
    let mut text = format!(
        "# {}\n\n{}\n",
        PlanKey::of(bundle),
        escaped(&bundle.description())
    );
    let bullets = &bundle.descriptor().bullets;
    if !bullets.is_empty() {
        let lines = bullets.iter().map(|line| format!("\n- {}", escaped(line)));
        text.extend(lines.chain(["\n".to_owned()]));
    }
    text.push_str("\n| | |\n|---|---|\n");
    for (what, value) in facts(bundle) {
        let _ = writeln!(text, "| {what} | {} |", escaped(&value));
    }
    let schemas = bundle.schemas();
    text.push_str(&parameters("Parameters", &schemas.create, Some(schemas)));
    if bundle.is_bindable() {
        text.push_str(&parameters("Parameters of a binding", &schemas.bind, None));
    }
    text
}

fn facts(bundle: &Bundle) -> Vec<(&'static str, String)> {
    let plan = bundle.descriptor();
    let cost = if bundle.is_free() { "free" } else { "not free" };
    let version = bundle
        .has_stated_version()
        .then(|| bundle.version().to_string());
    let takes = if bundle.provisions_asynchronously() {
        let seconds = bundle.deadline().total.as_secs();
        format!("asynchronous, at most {}", span(seconds))
    } else {
        "answered when they are done".to_owned()
    };
    let place = match bundle.namespace() {
        Namespace::Own => "a namespace of each instance's own".to_owned(),
        Namespace::Shared(name) => format!("the namespace {name}, shared by all instances"),
        Namespace::Context => "the namespace that the platform names".to_owned(),
    };
    let kinds: Vec<String> = bundle.kinds().iter().map(ToString::to_string).collect();
    let kept = match bundle.retain().as_secs() {
        0 => "deleted with the instance".to_owned(),
        seconds => format!("kept for {} after the instance", span(seconds)),
    };
    let mut facts = vec![("Cost", cost.to_owned())];
    facts.extend(version.map(|version| ("Version", version)));
    facts.extend([
        ("Operations", takes),
        ("Objects", format!("{}, in {place}", kinds.join(", "))),
        ("Data", kept),
        ("Bindings", bindings(bundle)),
    ]);
    if !plan.updates_to.is_empty() {
        facts.push(("Can become", plan.updates_to.join(", ")));
    }
    facts
}

fn bindings(bundle: &Bundle) -> String {
    let how = match bundle.method() {
        Method::None => return "none".to_owned(),
        Method::Database => "a database user for each",
        Method::Resources => "made by an operator",
    };
    let mut parts = vec![how.to_owned()];
    if bundle.binding_server() == Server::Shared {
        parts.push("on a server that outlives the instance".to_owned());
    }
    if bundle.is_binding_rotatable() {
        parts.push("can be rotated".to_owned());
    }
    if bundle.binding_requires_app() {
        parts.push("for applications only".to_owned());
    }
    if let Some(ends) = bundle.binding_expires_in() {
        parts.push(format!("end after {}", span(ends.as_secs())));
    }
    parts.join(", ")
}

/// In the largest unit that tells it exactly.
fn span(seconds: u64) -> String {
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units
        .into_iter()
        .find(|(length, _)| seconds.is_multiple_of(*length));
    let (length, unit) = unit.unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

/// A table of the parameters in a schema. `update` says which of them can be changed later.
fn parameters(title: &str, schema: &Value, update: Option<&Schemas>) -> String {
    let mut rows = String::new();
    add_rows(&mut rows, &[], schema, update);
    if let Some(schemas) = update {
        add_later(&mut rows, schemas);
    }
    let mut text = format!("\n## {title}\n\n");
    if rows.is_empty() {
        text.push_str("None.\n");
        return text;
    }
    let (head, line) = match update {
        Some(_) => (" Can be changed |", "---|"),
        None => ("", ""),
    };
    let _ = writeln!(
        text,
        "| Name | Type | Values | Default | Meaning |{head}\n|---|---|---|---|---|{line}"
    );
    text.push_str(&rows);
    text
}

fn add_rows(rows: &mut String, path: &[&str], schema: &Value, update: Option<&Schemas>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required = schema["required"].as_array();
    for (name, property) in properties {
        let path: Vec<&str> = path.iter().copied().chain([name.as_str()]).collect();
        let is_required = required.is_some_and(|all| all.iter().any(|one| one == name));
        let default = match property.get("default") {
            Some(default) => code(&default.to_string()),
            None if is_required => "required".to_owned(),
            None => String::new(),
        };
        let change = update.map(|schemas| change(schemas, &path));
        rows.push_str(&row(&path, property, &default, change));
        add_rows(rows, &path, property, update);
    }
}

/// Parameters that an update takes and a new instance does not.
fn add_later(rows: &mut String, schemas: &Schemas) {
    let Some(properties) = schemas.update["properties"].as_object() else {
        return;
    };
    let is_later = |name: &&String| !schemas.create["properties"][name].is_object();
    for name in properties.keys().filter(is_later) {
        let property = &properties[name];
        rows.push_str(&row(&[name], property, "", Some("only later")));
        add_rows(rows, &[name], property, Some(schemas));
    }
}

fn row(path: &[&str], property: &Value, default: &str, change: Option<&str>) -> String {
    let meaning = property["description"].as_str().unwrap_or_default();
    let mut row = format!(
        "| {} | {} | {} | {default} | {} |",
        code(&path.join(".")),
        escaped(&kind(property)),
        values(property),
        escaped(meaning)
    );
    if let Some(change) = change {
        let _ = write!(row, " {change} |");
    }
    row + "\n"
}

fn kind(property: &Value) -> String {
    match &property["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => {
            let kinds: Vec<&str> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ")
        }
        _ => String::new(),
    }
}

fn values(property: &Value) -> String {
    const BOUNDS: [(&str, &str); 9] = [
        ("const", "is"),
        ("minimum", "≥"),
        ("exclusiveMinimum", ">"),
        ("maximum", "≤"),
        ("exclusiveMaximum", "<"),
        ("minLength", "length ≥"),
        ("maxLength", "length ≤"),
        ("pattern", "pattern"),
        ("format", "format"),
    ];
    if let Some(list) = property["enum"].as_array() {
        let values: Vec<String> = list.iter().map(|value| code(&value.to_string())).collect();
        return values.join(", ");
    }
    let empty = Map::new();
    let property = property.as_object().unwrap_or(&empty);
    let bounds = BOUNDS.iter().filter_map(|(key, sign)| {
        let bound = property.get(*key)?;
        Some(format!("{sign} {}", code(&bound.to_string())))
    });
    bounds.collect::<Vec<_>>().join(", ")
}

fn change(schemas: &Schemas, path: &[&str]) -> &'static str {
    let property = path
        .iter()
        .fold(&schemas.update, |schema, name| &schema["properties"][*name]);
    match schemas.can_change(path) {
        false => "no",
        true if property["x-ordered"] == true => "to the next value",
        true => "yes",
    }
}

/// As text, in one cell of a table: nothing in it is Markdown or HTML.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
    {
        if matches!(
            c,
            '\\' | '|' | '<' | '>' | '[' | ']' | '*' | '_' | '#' | '`' | '!'
        ) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// As code, in one cell of a table.
fn code(text: &str) -> String {
    // A bar ends a cell even in code; a text with backticks needs more of them around it.
    let text = text.replace('|', "\\|");
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}
