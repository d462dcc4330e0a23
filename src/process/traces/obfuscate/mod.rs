//! Takes values out of spans that nobody should see. What is done follows from the span's type.
//!
//! ```text
//! sql cassandra             resource without its values, and the same as tag sql.query; db.statement, db.query.text likewise
//! redis valkey              names of commands as the resource; redis.raw_command, valkey.raw_command without values
//! memcached                 memcached.command goes, or loses its values
//! web http                  http.url without user, and without query and digits if wanted
//! mongodb                   mongodb.query: JSON without values
//! elasticsearch opensearch  elasticsearch.body, opensearch.body: likewise
//! any                       tags and attributes of events that look like a card's number; stack traces if wanted
//! ```
//! A statement that cannot be read becomes `Non-parsable SQL query`. Results are at most a small multiple of what they are made
//! of, and are made once for all spans that share a long text; time is linear, and buffers are used again. Source: reference
//! agent 7.80, pkg/trace/agent/obfuscate.go and pkg/obfuscate. Where it was not followed:
//!
//! ```text
//! what                                     reference 7.80               here
//! db.statement, db.query.text              later versions hide them     hidden
//! memcached.command                        becomes empty                goes, as its manual says
//! URL that cannot be read                  keeps user and password      loses them
//! scalar behind a JSON document            shown                        hidden
//! SQL value in JSON with \/ or \ud83d      read with its quotes         unescaped, then read
//! -.x in SQL                               swallows the character       two signs
//! UPDATE 'x', if tables are to be named    x is named as a table        a value
//! number of tables in sql.tables           any                          100
//! $tag$ without an end, in a mode          shown                        hidden
//! blanks before a Redis command            may make it an argument      go
//! card number in more than 256 bytes       hidden                       not looked at
//! what a replace rule makes                any length                   cut like other values
//! ```
//! libdatadog differs in more, see the `libdatadog` members of `fixtures/obfuscate.json`; the reference agent's results are
//! taken.

use crate::model::trace::AttributeValue;
use crate::model::trace::Tag;
use crate::model::trace::Text;
use crate::model::trace::Texts;
use crate::model::trace::TracePayload;
use crate::process::traces::edit::Edit;
use crate::process::traces::obfuscate::sql_modes::Dialect;
use crate::process::traces::rewrite::Rule;

pub mod cards;
pub mod http;
pub mod json;
pub mod memcached;
pub mod redis;
pub mod sql;
pub mod sql_modes;
pub mod sql_tokens;
pub mod sql_words;

/// What a statement becomes that cannot be read.
pub const NON_PARSABLE: &str = "Non-parsable SQL query";

/// What an SQL value in JSON becomes that cannot be read.
const NON_PARSABLE_IN_JSON: &str = "Datadog-agent failed to obfuscate SQL string. Enable agent debug logs for more info.";

/// What is hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Card numbers.
    pub cards: cards::Settings,
    /// SQL, always.
    pub sql: sql::Settings,
    /// Redis commands.
    pub redis: Commands,
    /// Valkey commands.
    pub valkey: Commands,
    /// Memcached commands.
    pub memcached: Memcached,
    /// URLs.
    pub http: http::Settings,
    /// MongoDB queries.
    pub mongodb: json::Settings,
    /// Elasticsearch bodies.
    pub elasticsearch: json::Settings,
    /// OpenSearch bodies.
    pub opensearch: json::Settings,
    /// Stack traces become `?`.
    pub remove_stack_traces: bool,
}

/// What of the raw commands of Redis or Valkey is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Commands {
    /// All of them.
    Whole,
    /// All but values.
    #[default]
    WithoutValues,
    /// The name of the command.
    WithoutArguments,
}

/// What of Memcached commands is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Memcached {
    /// All.
    Whole,
    /// All but values.
    WithoutValues,
    /// Nothing.
    #[default]
    Nothing,
}

/// What is kept from one payload to the next: how SQL was last read, and buffers.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    sql: sql::Memory,
    open: Vec<json::Bracket>,
}

/// The obfuscation of one payload.
pub struct Obfuscator<'o> {
    settings: &'o Settings,
    memory: &'o mut Memory,
    hidden: Option<Text>,
    sql_query: Option<Text>,
    sql_tables: Option<Text>,
}

impl<'o> Obfuscator<'o> {
    /// For `payload`, in which room is made for the tags that will be added, as pushing one by one would double a vector that a
    /// decoder sized with care.
    pub fn new(settings: &'o Settings, memory: &'o mut Memory, payload: &mut TracePayload) -> Obfuscator<'o> {
        let TracePayload { spans, tags, texts, .. } = payload;
        let is_sql = |kind: Text| matches!(kind.len(), 3 | 9) && matches!(texts.bytes(kind), b"sql" | b"cassandra");
        let added = 1 + usize::from(settings.sql.table_names);
        let moved = spans.iter().filter(|span| is_sql(span.kind)).map(|span| span.meta.len() + added).sum();
        tags.reserve_exact(moved);
        Obfuscator { settings, memory, hidden: None, sql_query: None, sql_tables: None }
    }

    /// One span.
    pub fn span(&mut self, mut edit: Edit) {
        let settings = self.settings;
        if settings.cards.enabled {
            self.hide_cards(edit.payload, edit.span);
        }
        if settings.remove_stack_traces {
            self.hide_stack_traces(edit.payload, edit.span);
        }
        match edit.payload.texts.bytes(edit.payload.spans[edit.span].kind) {
            b"sql" | b"cassandra" => self.sql(&mut edit),
            b"redis" => commands(&mut edit, settings.redis, "redis.raw_command"),
            b"valkey" => commands(&mut edit, settings.valkey, "valkey.raw_command"),
            b"memcached" => memcached_command(&mut edit, settings.memcached),
            b"web" | b"http" => {
                edit.rewrite_tags("http.url", Rule::Url, |url, out| http::obfuscate(url, &settings.http, out));
            }
            b"mongodb" => self.json(&mut edit, "mongodb.query", &settings.mongodb, Rule::Mongodb),
            b"elasticsearch" | b"opensearch" => {
                self.json(&mut edit, "elasticsearch.body", &settings.elasticsearch, Rule::Elasticsearch);
                self.json(&mut edit, "opensearch.body", &settings.opensearch, Rule::Opensearch);
            }
            _ => {}
        }
    }

    fn hidden(&mut self, texts: &mut Texts) -> Text {
        *self.hidden.get_or_insert_with(|| texts.make("?"))
    }

    fn hide_cards(&mut self, payload: &mut TracePayload, span: usize) {
        let cards = &self.settings.cards;
        let TracePayload { spans, texts, tags, .. } = &mut *payload;
        for tag in &mut tags[spans[span].meta.range()] {
            // The length first: it lies at hand, and hardly any tag gets further.
            if cards::DIGITS_MIN <= tag.value.len()
                && cards::is_card_number(texts.bytes(tag.value), cards.luhn)
                && cards.looks_at(texts.str(tag.key))
            {
                tag.value = self.hidden(texts);
            }
        }
        for event in payload.spans[span].events.range() {
            for index in payload.events[event].attributes.range() {
                let attribute = payload.event_attributes[index];
                if !cards.looks_at(payload.texts.str(attribute.key)) {
                    continue;
                }
                if let AttributeValue::Array(values) = attribute.value {
                    for index in values.range() {
                        payload.array_values[index] = self.without_card(payload.array_values[index], &mut payload.texts);
                    }
                }
                payload.event_attributes[index].value = self.without_card(attribute.value, &mut payload.texts);
            }
        }
    }

    fn without_card(&mut self, value: AttributeValue, texts: &mut Texts) -> AttributeValue {
        let is_card = |text: &[u8]| cards::is_card_number(text, self.settings.cards.luhn);
        let is_card = match value {
            AttributeValue::Text(text) => is_card(texts.bytes(text)),
            AttributeValue::Int(number) => is_card(number.to_string().as_bytes()),
            AttributeValue::Double(number) => is_card(number.to_string().as_bytes()),
            AttributeValue::Bool(_) | AttributeValue::Array(_) => false,
        };
        if is_card { AttributeValue::Text(self.hidden(texts)) } else { value }
    }

    /// The reference has two replace rules for this, which therefore also see events.
    fn hide_stack_traces(&mut self, payload: &mut TracePayload, span: usize) {
        let hidden = self.hidden(&mut payload.texts);
        let TracePayload { spans, tags, texts, events, event_attributes, .. } = payload;
        let is_stack = |key: Text| matches!(texts.bytes(key), b"error.stack" | b"exception.stacktrace");
        for tag in tags[spans[span].meta.range()].iter_mut().filter(|tag| is_stack(tag.key)) {
            tag.value = hidden;
        }
        for event in &events[spans[span].events.range()] {
            for attribute in event_attributes[event.attributes.range()].iter_mut().filter(|found| is_stack(found.key)) {
                attribute.value = AttributeValue::Text(hidden);
            }
        }
    }

    fn sql(&mut self, edit: &mut Edit) {
        let span = edit.payload.spans[edit.span];
        if span.resource.is_empty() {
            return;
        }
        // Only the engine with modes knows dialects.
        let dialect = self.settings.sql.mode.and_then(|_| edit.payload.span_tag(&span, "db.type"));
        let dialect = dialect.map_or(Dialect::Any, |name| Dialect::named(edit.payload.texts.str(name)));
        if self.settings.sql.table_names {
            self.name_tables(edit, dialect);
        }
        let query = self.statement(edit, span.resource, dialect);
        edit.payload.spans[edit.span].resource = query;
        let mut has_query = false;
        for index in edit.payload.spans[edit.span].meta.range() {
            let TracePayload { texts, tags, .. } = &mut *edit.payload;
            let Tag { key, value } = tags[index];
            match key.len() {
                9 if texts.is(key, "sql.query") => {
                    tags[index].value = query;
                    has_query = true;
                }
                12 | 13 if matches!(texts.bytes(key), b"db.statement" | b"db.query.text") && !value.is_empty() => {
                    let query = self.statement(edit, value, dialect);
                    edit.payload.tags[index].value = query;
                }
                _ => {}
            }
        }
        if !has_query {
            let key = *self.sql_query.get_or_insert_with(|| edit.payload.texts.make("sql.query"));
            edit.add_tag(Tag { key, value: query });
        }
    }

    fn statement(&mut self, edit: &mut Edit, statement: Text, dialect: Dialect) -> Text {
        let sql = &mut self.memory.sql;
        edit.rewriter.rewrite_into(&mut edit.payload.texts, statement, Rule::Sql(dialect), |statement, out| {
            if sql::obfuscate(statement, &self.settings.sql, dialect, sql, out).is_err() {
                out.clear();
                out.push_str(NON_PARSABLE);
            }
        })
    }

    fn name_tables(&mut self, edit: &mut Edit, dialect: Dialect) {
        let sql = &mut self.memory.sql;
        let TracePayload { texts, spans, .. } = &mut *edit.payload;
        let resource = spans[edit.span].resource;
        let value = edit.rewriter.rewrite_into(texts, resource, Rule::Tables(dialect), |statement, out| {
            let result = sql::obfuscate(statement, &self.settings.sql, dialect, sql, out);
            out.clear();
            out.push_str(if result.is_ok() { sql.tables.joined() } else { "" });
        });
        if !value.is_empty() {
            let key = *self.sql_tables.get_or_insert_with(|| texts.make("sql.tables"));
            edit.set_tag(Tag { key, value });
        }
    }

    fn json(&mut self, edit: &mut Edit, key: &str, settings: &json::Settings, rule: Rule) {
        if !settings.enabled {
            return;
        }
        let sql_settings = &self.settings.sql;
        let Memory { sql, open } = &mut *self.memory;
        edit.rewrite_tags(key, rule, |text, out| {
            let mut statement = |statement: &str, out: &mut String| {
                let start = out.len();
                if sql::obfuscate(statement, sql_settings, Dialect::Any, sql, out).is_err() {
                    out.truncate(start);
                    out.push_str(NON_PARSABLE_IN_JSON);
                }
            };
            json::obfuscate(text, settings, open, &mut statement, out);
        });
    }
}

/// The resource of statistics that a tracer computed of spans of this type.
pub fn resource(kind: &str, dialect: &str, resource: &mut String, settings: &Settings, memory: &mut Memory) {
    let mut out = String::new();
    match kind {
        "sql" | "cassandra" => {
            let dialect = settings.sql.mode.map_or(Dialect::Any, |_| Dialect::named(dialect));
            if sql::obfuscate(resource, &settings.sql, dialect, &mut memory.sql, &mut out).is_err() {
                NON_PARSABLE.clone_into(&mut out);
            }
        }
        "redis" | "valkey" => redis::quantize(resource, &mut out),
        _ => return,
    }
    *resource = out;
}

fn commands(edit: &mut Edit, shown: Commands, key: &str) {
    edit.rewrite_resource(Rule::Commands, redis::quantize);
    match shown {
        Commands::Whole => {}
        Commands::WithoutValues => edit.rewrite_tags(key, Rule::RawCommand, redis::obfuscate),
        Commands::WithoutArguments => edit.rewrite_tags(key, Rule::RawCommand, redis::remove_all_args),
    }
}

fn memcached_command(edit: &mut Edit, shown: Memcached) {
    const KEY: &str = "memcached.command";
    match shown {
        Memcached::Whole => {}
        Memcached::WithoutValues => {
            edit.rewrite_tags(KEY, Rule::RawCommand, |command, out| out.push_str(memcached::command(command)));
        }
        Memcached::Nothing => edit.remove_tags(KEY),
    }
}

#[cfg(test)]
mod tests;
