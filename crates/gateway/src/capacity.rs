//! The capacity of the gateway: how many clients and links it may hold, by its configuration and by
//! the limit on open files (`ulimit -n`).
//!
//! Each connection is an open file. Descriptors are reserved for the gateway's own files and for
//! links, so that a worker can link even while clients hold all of theirs. This is plain data:
//! `server` calculates it at the start, and `listener` and `server::acceptors` count connections.

use gatewayworker_daemon::OpenFiles;
use tracing::{info, warn};

use crate::config::Config;
use crate::error::Error;

/// Descriptors for files that the gateway opens for a moment: certificates, name look-ups, a
/// connection that is accepted and not counted yet.
const SPARE: usize = 16;

/// Descriptors of the runtime of each shard but the first.
const RUNTIME: usize = 4;

/// The fewest links that there is room for, if `max_links` allows: two of a worker, two of its
/// successor during a reload, and two of client libraries. Interest links do not get the last so many places: without one
/// everything is sent.
pub(crate) const MIN_LINKS: usize = 6;

/// The fewest connections with which a gateway starts.
const MIN_CONNECTIONS: usize = 2 * MIN_LINKS;

/// The most connections over the limit that are being rejected with an answer at the same time.
const REJECTED: usize = 256;

/// The most connections of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Clients: `max_connections` or fewer.
    pub(crate) clients: usize,
    /// Links of workers and client libraries: `max_links` or fewer.
    pub(crate) links: usize,
    /// Connections over the limit that are being rejected with an answer.
    pub(crate) rejected: usize,
}

impl Capacity {
    /// Returns the capacity of a gateway with this configuration in a process with these open files,
    /// among them its listeners. Links get a quarter of the descriptors that are left, and six at
    /// least.
    ///
    /// # Errors
    /// When fewer descriptors are left than a gateway starts with.
    pub(crate) fn new(config: &Config, files: Option<OpenFiles>) -> Result<Self, Error> {
        let (max_clients, max_links) = (config.max_connections, config.max_links);
        let Some(files) = files else {
            return Ok(Self { clients: max_clients, links: max_links, rejected: REJECTED });
        };
        let own = SPARE + RUNTIME * config.shards.saturating_sub(1) + config.register_address.len();
        let left = files.free().saturating_sub(own);
        if left < MIN_CONNECTIONS {
            let reserved = files.open + own;
            let required = reserved + MIN_CONNECTIONS;
            return Err(Error::OpenFiles { limit: files.limit, reserved, required });
        }
        let links = max_links.min(MIN_LINKS.max(left / 4));
        let rejected = REJECTED.min(left / 8);
        Ok(Self { clients: max_clients.min(left - links - rejected), links, rejected })
    }

    /// Logs the capacity: as a warning where it is lower than a number that the configuration sets.
    pub(crate) fn log(&self, config: &Config, files: Option<OpenFiles>) {
        let Self { clients, links, .. } = *self;
        let open_files = files.map(|files| files.limit);
        let default = Config::default();
        let is_below_setting = (clients < config.max_connections
            && config.max_connections != default.max_connections)
            || (links < config.max_links && config.max_links != default.max_links);
        if is_below_setting {
            warn!(
                open_files,
                max_connections = clients,
                max_links = links,
                "the limit on open files leaves room for fewer clients or links than are configured: raise it (ulimit -n)"
            );
        } else {
            info!(
                open_files,
                max_connections = clients,
                max_links = links,
                "the gateway has room for so many clients and links"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(limit: usize) -> Result<Capacity, Error> {
        Capacity::new(&Config { shards: 2, ..Config::default() }, Some(OpenFiles { limit, open: 10 }))
    }

    #[test]
    fn connections_leave_descriptors_for_the_gateway_itself() {
        for limit in (43..2000).chain([65_536, 524_288, 1_048_576, usize::MAX]) {
            let Capacity { clients, links, rejected } = capacity(limit).unwrap();
            assert!(clients >= 5 && links >= MIN_LINKS && rejected >= 1, "{limit}");
            let own = 10 + SPARE + RUNTIME + 1;
            assert!(clients.saturating_add(links + rejected + own) <= limit, "{limit}");
        }
    }

    #[test]
    fn the_configured_numbers_hold_where_there_is_room() {
        let all = Capacity { clients: 1_000_000, links: 10_000, rejected: REJECTED };
        assert_eq!(capacity(1_048_576).unwrap(), all);
        assert_eq!(Capacity::new(&Config::default(), None).unwrap(), all);
        let config = Config { max_connections: 20, max_links: 5, ..Config::default() };
        let some = Capacity::new(&config, Some(OpenFiles { limit: 1024, open: 10 })).unwrap();
        assert_eq!((some.clients, some.links), (20, 5));
    }

    #[test]
    fn a_limit_that_is_too_low_is_refused_with_one_that_suffices() {
        let error = capacity(20).unwrap_err().to_string();
        assert!(error.contains("is 20, and 31 of them") && error.contains("raise it to 43"), "{error}");
        assert!(capacity(42).is_err() && capacity(43).is_ok());
    }
}
