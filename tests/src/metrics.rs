//! What a daemon shows at `metrics_listen`: a scrape, with its numbers by name and labels, and the answers of its
//! health endpoints.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{eventually, soon};

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// As it came.
    pub text: String,
    numbers: BTreeMap<String, f64>,
}

impl Scrape {
    /// Scrapes a daemon.
    ///
    /// # Panics
    /// It does not answer, or not with metrics.
    pub async fn of(daemon: SocketAddr) -> Self {
        let (status, text) = get(daemon, "/metrics").await;
        assert_eq!(status, 200, "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let number = |line: &str| {
            let (name, number) = line.rsplit_once(' ').expect("a name and a number");
            (name.to_owned(), number.parse().unwrap_or_else(|_| panic!("no number: {line}")))
        };
        Self { numbers: lines.map(number).collect(), text }
    }

    /// Returns a number by its name, with its labels as in the scrape; 0 where it is not there.
    pub fn get(&self, name: &str) -> f64 {
        self.numbers.get(name).copied().unwrap_or_default()
    }

    /// Whether a number of this name is there, with its labels.
    pub fn has(&self, name: &str) -> bool {
        self.numbers.contains_key(name)
    }

    /// Returns the sum of the numbers of this name, whatever their labels.
    pub fn sum(&self, name: &str) -> f64 {
        let of_name = |key: &&String| key.split('{').next() == Some(name);
        self.numbers.keys().filter(of_name).map(|key| self.numbers[key]).sum()
    }

    /// Returns the name of each metric with its type and the sentence about it.
    pub fn families(&self) -> BTreeMap<String, (String, String)> {
        let mut families = BTreeMap::<String, (String, String)>::new();
        for line in self.text.lines() {
            let mut words = line.splitn(4, ' ');
            if let (Some("#"), Some(what), Some(name), Some(rest)) =
                (words.next(), words.next(), words.next(), words.next())
            {
                let family = families.entry(name.to_owned()).or_default();
                if what == "TYPE" { &mut family.0 } else { &mut family.1 }.push_str(rest);
            }
        }
        families
    }
}

/// Gets a path of a daemon; returns the status and the body.
///
/// # Panics
/// There is no answer in time.
pub async fn get(daemon: SocketAddr, path: &str) -> (u16, String) {
    let mut connection = soon("the daemon", TcpStream::connect(daemon)).await.expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.expect("the connection stands");
    let mut answer = String::new();
    soon("an answer", connection.read_to_string(&mut answer)).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.expect("a status"), body.to_owned())
}

/// Does something, and waits until each of these numbers has grown by so much, and no more.
///
/// # Panics
/// One has not in time. The message has the numbers.
pub async fn assert_moves<T>(daemon: SocketAddr, numbers: &[(&str, f64)], act: impl AsyncFnOnce() -> T) -> T {
    let before = Scrape::of(daemon).await;
    let done = act().await;
    let mut grown = Vec::new();
    let what = format!("{numbers:?}");
    eventually(&what, async || {
        let now = Scrape::of(daemon).await;
        grown = numbers.iter().map(|(name, _)| now.get(name) - before.get(name)).collect();
        numbers.iter().zip(&grown).all(|((_, by), grown)| (by - grown).abs() < 1e-9)
    })
    .await;
    done
}
