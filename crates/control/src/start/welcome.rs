//! The message that a person reads once the cluster can do its work: where clients connect, which register the workers of
//! others need, where calls over HTTP are taken, where metrics are shown, and where the page for operators is. `foreground.rs` and `background.rs` print it.

use std::path::Path;

use super::plan::WORKER;
use crate::report::PageReport;

/// The addresses of a cluster that are of use to a person.
#[derive(Debug, Default)]
pub(super) struct ListenAddresses {
    daemons: usize,
    has_worker: bool,
    /// Where the register listens.
    registers: Vec<String>,
    /// Where clients connect to, as they write it.
    clients: Vec<String>,
    /// Where calls over HTTP are taken.
    calls: Vec<String>,
    /// Where metrics are shown, with the daemon's name.
    metrics: Vec<(String, String)>,
    /// The page for operators that this tool serves.
    page: Option<PageReport>,
    /// Those that daemons serve, with the daemon's name.
    pages: Vec<(String, String)>,
}

impl ListenAddresses {
    /// Adds the addresses of the daemon of this name.
    pub(super) fn add(&mut self, name: &str, addresses: &[String]) {
        self.daemons += 1;
        // Each kind of URL has another end.
        let (pages, addresses): (Vec<_>, Vec<_>) =
            addresses.iter().cloned().partition(|one| one.starts_with("http://") && one.ends_with('/'));
        self.pages.extend(pages.into_iter().map(|url| (name.to_owned(), url)));
        let (metrics, addresses): (Vec<_>, Vec<_>) =
            addresses.into_iter().partition(|one| one.ends_with("/metrics"));
        self.metrics.extend(metrics.into_iter().map(|url| (name.to_owned(), url)));
        match name {
            "register" => self.registers.extend(addresses),
            "gateway" => self.clients.extend(addresses.iter().map(|address| as_clients_write(address))),
            WORKER => {
                self.has_worker = true;
                self.calls.extend(addresses);
            }
            _ => {}
        }
    }

    /// Sets where the page for operators is.
    pub(super) fn set_page(&mut self, page: Option<PageReport>) {
        self.page = page;
    }

    /// Whether the addresses of so many daemons are there.
    pub(super) fn is_complete(&self, daemons: usize) -> bool {
        self.daemons == daemons
    }

    /// Returns all of them in one line, for machines.
    pub(super) fn in_one_line(&self) -> String {
        self.clients.iter().chain(&self.calls).map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Makes the message. `page` is a page to open in a browser, which is named if the file exists; `next` says how
    /// to end the cluster.
    pub(super) fn welcome(&self, page: Option<&Path>, next: &str) -> String {
        let clients = self.clients.iter().map(|address| format!("    clients connect to  {address}\n"));
        // Nobody else says which address a worker of one's own needs.
        let registers = self.registers.iter().filter(|_| !self.has_worker);
        let registers = registers.map(|address| {
            let address = as_peers_write(address);
            format!("    start your workers  {address}  (their register_address)\n")
        });
        let calls = self.calls.iter().map(|address| format!("    calls over HTTP at  {address}\n"));
        let metrics =
            self.metrics.iter().map(|(daemon, url)| format!("    metrics at          {url}  ({daemon})\n"));
        let page = page.and_then(|page| self.link(page));
        let page = page.map(|page| format!("    open in a browser   {page}\n"));
        let operators = self.page.as_ref().map(|PageReport { url, token_file }| {
            let token = token_file.as_ref().map(|file| format!("  (token: in {file})")).unwrap_or_default();
            format!("    page for operators  {url}{token}\n")
        });
        let pages =
            self.pages.iter().map(|(daemon, url)| format!("    page for operators  {url}  ({daemon})\n"));
        let lines: String = clients
            .chain(registers)
            .chain(calls)
            .chain(metrics)
            .chain(operators)
            .chain(pages)
            .chain(page)
            .collect();
        format!("\n  GatewayWorker is running.\n\n{lines}\n  {next}\n")
    }

    /// Returns the URL of a page that exists; it connects to the first listener for browsers.
    fn link(&self, page: &Path) -> Option<String> {
        let page = std::path::absolute(page).ok().filter(|page| page.is_file())?;
        let is_for_browsers = |url: &&String| url.starts_with("ws://") || url.starts_with("wss://");
        let page =
            page.to_str()?.replace('%', "%25").replace(' ', "%20").replace('?', "%3F").replace('#', "%23");
        Some(match self.clients.iter().find(is_for_browsers) {
            Some(url) => format!("file://{page}?url={url}"),
            None => format!("file://{page}"),
        })
    }
}

/// Returns a listener's address as a client on this machine writes it.
fn as_clients_write(address: &str) -> String {
    let address = match address.strip_prefix("websocket://") {
        Some(rest) => format!("ws://{rest}"),
        None => address.to_owned(),
    };
    address.replacen("//0.0.0.0:", "//127.0.0.1:", 1).replacen("//[::]:", "//[::1]:", 1)
}

/// Returns a register's address as a daemon on this machine writes it.
fn as_peers_write(address: &str) -> String {
    as_clients_write(&format!("//{address}")).split_off(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_a_client_writes_them() {
        for (listener, client) in [
            ("websocket://127.0.0.1:8289", "ws://127.0.0.1:8289"),
            ("websocket://0.0.0.0:80", "ws://127.0.0.1:80"),
            ("websocket://[::]:80", "ws://[::1]:80"),
            ("text://10.0.0.1:9000", "text://10.0.0.1:9000"),
        ] {
            assert_eq!(as_clients_write(listener), client);
        }
    }

    #[test]
    fn the_register_is_named_to_those_who_run_the_workers() {
        let mut addresses = ListenAddresses::default();
        addresses.add("register", &["0.0.0.0:1236".to_owned()]);
        addresses.add("gateway", &["websocket://127.0.0.1:8289".to_owned()]);
        assert!(addresses.is_complete(2));
        let text = "
  GatewayWorker is running.

    clients connect to  ws://127.0.0.1:8289
    start your workers  127.0.0.1:1236  (their register_address)

  That is all.
";
        assert_eq!(addresses.welcome(None, "That is all."), text);
    }

    #[test]
    fn all_listeners_are_named_and_the_page_where_it_exists() {
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("client.html");
        let said = |page| {
            let mut addresses = ListenAddresses::default();
            for (name, of_daemon) in [
                ("register", &["127.0.0.1:1236", "http://127.0.0.1:9604/"][..]),
                ("businessworker", &["http://127.0.0.1:80", "http://127.0.0.1:9603/metrics"]),
                ("gateway", &["websocket://0.0.0.0:8289"]),
            ] {
                assert!(!addresses.is_complete(3));
                addresses.add(name, &of_daemon.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
            }
            assert!(addresses.is_complete(3));
            let token_file = Some("/run/chat/admin-token".into());
            addresses.set_page(Some(PageReport { url: "http://127.0.0.1:9600/".into(), token_file }));
            addresses.welcome(page, "That is all.")
        };
        let text = "
  GatewayWorker is running.

    clients connect to  ws://127.0.0.1:8289
    calls over HTTP at  http://127.0.0.1:80
    metrics at          http://127.0.0.1:9603/metrics  (businessworker)
    page for operators  http://127.0.0.1:9600/  (token: in /run/chat/admin-token)
    page for operators  http://127.0.0.1:9604/  (register)

  That is all.
";
        assert_eq!(said(None), text);
        assert_eq!(said(Some(&page)), text, "there is no such page");
        std::fs::write(&page, "").unwrap();
        let link = format!("open in a browser   file://{}?url=ws://127.0.0.1:8289\n", page.display());
        assert!(said(Some(&page)).contains(&link), "{}", said(Some(&page)));
    }
}
