//! The files of the page, which are built into the program.

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// A file of the page.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it is served.
    pub(crate) path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! file {
    ($path:literal, $name:literal, $type:literal) => {
        File {
            path: $path,
            content_type: concat!($type, "; charset=utf-8"),
            bytes: include_bytes!(concat!("../page/", $name)),
        }
    };
}

/// All files in `page/`.
pub(crate) static FILES: &[File] = &[
    file!("/", "index.html", "text/html"),
    file!("/app.css", "app.css", "text/css"),
    file!("/app.js", "app.js", "text/javascript"),
    file!("/favicon.svg", "favicon.svg", "image/svg+xml"),
    file!("/js/api.js", "js/api.js", "text/javascript"),
    file!("/js/call.js", "js/call.js", "text/javascript"),
    file!("/js/changes.js", "js/changes.js", "text/javascript"),
    file!("/js/chart.js", "js/chart.js", "text/javascript"),
    file!("/js/client.js", "js/client.js", "text/javascript"),
    file!("/js/clients.js", "js/clients.js", "text/javascript"),
    file!("/js/cluster.js", "js/cluster.js", "text/javascript"),
    file!("/js/dialog.js", "js/dialog.js", "text/javascript"),
    file!("/js/dom.js", "js/dom.js", "text/javascript"),
    file!("/js/format.js", "js/format.js", "text/javascript"),
    file!("/js/groups.js", "js/groups.js", "text/javascript"),
    file!("/js/language.js", "js/language.js", "text/javascript"),
    file!("/js/lately.js", "js/lately.js", "text/javascript"),
    file!("/js/mesh.js", "js/mesh.js", "text/javascript"),
    file!("/js/nav.js", "js/nav.js", "text/javascript"),
    file!("/js/overview.js", "js/overview.js", "text/javascript"),
    file!("/js/reasons.js", "js/reasons.js", "text/javascript"),
    file!("/js/reports.js", "js/reports.js", "text/javascript"),
    file!("/js/shell.js", "js/shell.js", "text/javascript"),
    file!("/js/slow.js", "js/slow.js", "text/javascript"),
    file!("/js/table.js", "js/table.js", "text/javascript"),
    file!("/js/token.js", "js/token.js", "text/javascript"),
    file!("/js/trace.js", "js/trace.js", "text/javascript"),
    file!("/js/words.js", "js/words.js", "text/javascript"),
];

impl File {
    /// The answer with this file. A browser asks again each time: the next version may have another one.
    pub(crate) fn response(&self) -> Response {
        let mut response = Response::new(Body::from(Bytes::from_static(self.bytes)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_under_its_name() {
        fn names(directory: &Path, below: &str, into: &mut Vec<String>) {
            for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
                let name = format!("{below}/{}", entry.file_name().to_str().unwrap());
                match entry.path().is_dir() {
                    true => names(&entry.path(), &name, into),
                    false => into.push(name.replace("/index.html", "/")),
                }
            }
        }
        let mut of_page = Vec::new();
        names(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/page")), "", &mut of_page);
        of_page.sort();
        let mut served: Vec<_> = FILES.iter().map(|file| file.path.to_owned()).collect();
        served.sort();
        assert_eq!(served, of_page);
        assert!(FILES.iter().map(|file| file.bytes.len()).sum::<usize>() < 200_000);
    }
}
