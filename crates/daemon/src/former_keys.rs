//! Keys of a configuration file that have moved into a table: `http_listen` is `listen` in the table
//! `[http]` now, or `http.listen`.
//!
//! Files with the former names are still understood. The old and the new name are equally long, so
//! each is replaced where it stands: whoever reads the file next sees new names only, and errors
//! still name the right line. `config` calls this before it reads a file.

use anyhow::{anyhow, bail};
use toml::de::DeTable;

/// The keys of a table that once stood outside of it, each with the table's name and `_` before it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FormerKeys {
    /// The name of the table, `http`.
    pub table: &'static str,
    /// The names of the keys within the table, `listen`.
    pub keys: &'static [&'static str],
}

/// A file with new names.
pub(crate) struct Renamed {
    /// The text of the file.
    pub(crate) text: String,
    /// What to tell about each key that had its former name, with the line before it: `3: …`.
    pub(crate) warnings: Vec<String>,
}

impl FormerKeys {
    /// The former names, each with the new one: `http_listen` and `http.listen`.
    pub(crate) fn names(self) -> impl Iterator<Item = (String, String)> {
        let Self { table, keys } = self;
        keys.iter().map(move |key| (format!("{table}_{key}"), format!("{table}.{key}")))
    }

    /// Replaces the former names in a file. A text that is not TOML is returned as it is.
    ///
    /// # Errors
    /// When the file has a former name and the table, too; the error begins with the line.
    pub(crate) fn rename(self, text: &str) -> anyhow::Result<Renamed> {
        let mut renamed = Renamed { text: text.to_owned(), warnings: Vec::new() };
        let Ok(file) = DeTable::parse(text) else { return Ok(renamed) };
        let mut found: Vec<_> = file.get_ref().keys().map(|key| key.span()).collect();
        found.sort_by_key(|span| span.start);
        for span in found {
            let Some((old, new)) = self.names().find(|(old, _)| text.get(span.clone()) == Some(old)) else {
                continue;
            };
            let line = text[..span.start].matches('\n').count() + 1;
            let (table, key) = new.split_once('.').ok_or_else(|| anyhow!("{new} has no table"))?;
            if file.get_ref().contains_key(table) {
                bail!(
                    "{line}: {old}: is {key} in the table [{table}] now, which this file has: move it there"
                );
            }
            renamed.text.replace_range(span, &new);
            renamed.warnings.push(format!(
                "{line}: {old} is an old name: write {key} in a table [{table}], or {new} here"
            ));
        }
        Ok(renamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: FormerKeys = FormerKeys { table: "http", keys: &["listen", "max_batch"] };

    #[test]
    fn former_names_are_replaced_where_they_stand_and_nothing_else() {
        let text = "name = 'http_listen = 3'\nhttp_max_batch = 7\n  http_listen='''\nhttp_listen = 1\n'''\n[app]\nhttp_listen = 2\n";
        let renamed = HTTP.rename(text).unwrap();
        let expected = "name = 'http_listen = 3'\nhttp.max_batch = 7\n  http.listen='''\nhttp_listen = 1\n'''\n[app]\nhttp_listen = 2\n";
        assert_eq!(renamed.text, expected);
        assert_eq!(
            renamed.warnings,
            [
                "2: http_max_batch is an old name: write max_batch in a table [http], or http.max_batch here",
                "3: http_listen is an old name: write listen in a table [http], or http.listen here",
            ]
        );
    }

    #[test]
    fn a_file_with_new_names_is_left_as_it_is() {
        for text in ["", "http.listen = 'a'", "[http]\nlisten = 'a'", "not TOML ["] {
            let renamed = HTTP.rename(text).unwrap();
            assert_eq!((renamed.text.as_str(), renamed.warnings.len()), (text, 0));
        }
    }

    #[test]
    fn a_former_name_beside_the_table_is_an_error_that_says_what_to_do() {
        let error = HTTP.rename("http_max_batch = 7\n[http]\nlisten = 'a'\n").err().unwrap().to_string();
        let expected =
            "1: http_max_batch: is max_batch in the table [http] now, which this file has: move it there";
        assert_eq!(error, expected);
    }
}
