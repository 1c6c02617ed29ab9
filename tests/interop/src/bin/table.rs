//! Puts results into the documentation: `interop-table RESULTS docs/migrating-from-php.md`.

use anyhow::{Context, Result, bail};
use gatewayworker_interop::results::{put, tables};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [results, document] = &arguments[..] else { bail!("usage: interop-table RESULTS DOCUMENT") };
    let results = std::fs::read_to_string(results).context(results.clone())?;
    let mut text = std::fs::read_to_string(document).context(document.clone())?;
    for (name, table) in tables(&results)? {
        text = put(&text, name, &table)?;
    }
    std::fs::write(document, text).context(document.clone())
}
