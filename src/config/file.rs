//! The configuration file: TOML, flattened to dotted keys, each with its line.

use crate::config::Error;
use std::path::Path;
use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

/// One entry of the file that is not a pool.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its key, tables joined by dots.
    pub(crate) key: String,
    /// Its value as text.
    pub(crate) value: String,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// One `[[pools]]` table.
#[derive(Debug)]
pub(crate) struct PoolTable {
    /// Its text as TOML, parsed by itself.
    pub(crate) table: toml::Table,
    /// Its line, from 1.
    pub(crate) line: usize,
}

/// What a file says.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) entries: Vec<Entry>,
    pub(crate) pools: Vec<PoolTable>,
}

/// Reads the file.
pub(crate) fn read(file: &Path) -> Result<Contents, Error> {
    let text =
        std::fs::read_to_string(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
    parse(&text).map_err(|text| Error::Syntax { file: file.to_owned(), text })
}

fn parse(text: &str) -> Result<Contents, String> {
    let document = DeTable::parse(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut contents = Contents::default();
    flatten(text, "", document.get_ref(), &mut contents)?;
    Ok(contents)
}

fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, contents: &mut Contents) -> Result<(), String> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let line = line_of(text, name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) => flatten(text, &format!("{key}."), inner, contents)?,
            DeValue::Array(items) if key == "pools" => {
                for item in items {
                    contents.pools.push(pool(text, item)?);
                }
            }
            DeValue::String(value) => {
                contents.entries.push(Entry { key, value: value.to_string(), line });
            }
            DeValue::Integer(value) => {
                contents.entries.push(Entry { key, value: value.to_string(), line });
            }
            DeValue::Boolean(value) => {
                contents.entries.push(Entry { key, value: value.to_string(), line });
            }
            DeValue::Float(_) | DeValue::Datetime(_) | DeValue::Array(_) => {
                let kind = value.get_ref().type_str();
                return Err(format!("line {line}: {key} cannot be a {kind}"));
            }
        }
    }
    Ok(())
}

fn pool(text: &str, item: &Spanned<DeValue<'_>>) -> Result<PoolTable, String> {
    let line = line_of(text, item.span().start);
    let table =
        <toml::Table as serde::Deserialize>::deserialize(toml::de::ValueDeserializer::from(item.clone()))
            .map_err(|error| format!("line {line}: {error}"))?;
    Ok(PoolTable { table, line })
}

fn line_of(text: &str, offset: usize) -> usize {
    text[..offset.min(text.len())].matches('\n').count() + 1
}
