//! The documentation: both languages are in step, the site's summaries name each page, links lead somewhere,
//! and the pages name what the code has. Reads files only.

mod close_codes;
mod examples;
mod languages;
mod links;
mod operating;
mod pages;
mod summary;
