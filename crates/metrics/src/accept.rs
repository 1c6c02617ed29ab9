//! Which format a scraper wants, as its `Accept` header says. `exporter` calls it.

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// A format of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Prometheus' text format 0.0.4, which every scraper reads.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// Chooses OpenMetrics where the header names it, and does not prefer text; otherwise text.
    pub(crate) fn wanted(headers: &HeaderMap) -> Self {
        let (mut text, mut open_metrics) = (0.0_f32, 0.0_f32);
        let lines = headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok());
        for range in lines.flat_map(|line| line.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0_f32, "");
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim().to_ascii_lowercase().as_str() {
                    // A value that is no number wants nothing.
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = value.trim().trim_matches('"'),
                    _ => {}
                }
            }
            match (media_type.as_str(), version) {
                ("application/openmetrics-text", "" | "1.0.0" | "0.0.1") => {
                    open_metrics = open_metrics.max(quality);
                }
                ("text/plain", "" | "0.0.4") => text = text.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(lines: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        Format::wanted(&headers)
    }

    #[test]
    fn a_scraper_that_names_openmetrics_gets_it() {
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        for accept in
            [prometheus_2, prometheus_3, "Application/OpenMetrics-Text; version=\"1.0.0\"; charset=utf-8"]
        {
            assert_eq!(wanted(&[accept]), Format::OpenMetrics, "{accept}");
        }
        assert_eq!(wanted(&["text/html", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn everybody_else_gets_text() {
        for accept in [
            "",
            "*/*",
            "text/html",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=lots",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0.4, text/plain;q=0.5",
            ";;q=,=,",
        ] {
            assert_eq!(wanted(&[accept]), Format::Text, "{accept}");
        }
        assert_eq!(wanted(&[]), Format::Text);
    }
}
