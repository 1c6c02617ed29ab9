//! How many connections of each kind the gateway may hold: what is configured, within
//! what the limit on open files (`ulimit -n`) leaves.
//!
//! Each connection is a file. Descriptors are set aside for the gateway's own files and for
//! the links of workers, so that a worker can link though clients hold all that they may.
//! Plain data; who counts is `listener` and `server`.

use anyhow::ensure;
use gatewayworker_daemon::OpenFiles;
use tracing::{info, warn};

use crate::config::Config;

/// Descriptors for what the gateway opens now and then: certificates that are read again,
/// look-ups of names, a connection that is accepted and not yet counted.
const SPARE: usize = 16;

/// What each shard but the first opens for its runtime.
const RUNTIME: usize = 4;

/// Links that there is room for in any case, if `max_links` allows: two of a worker, two of its
/// successor during a reload, and two of client libraries.
const FEWEST_LINKS: usize = 6;

/// Fewer connections than this are not worth starting for.
const FEWEST: usize = 2 * FEWEST_LINKS;

/// The most connections over the limit that are told so at the same time.
const REJECTED: usize = 256;

/// How many connections there may be, of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capacity {
    /// Clients, `max_connections` or fewer.
    pub(crate) clients: usize,
    /// Links of workers and client libraries, `max_links` or fewer.
    pub(crate) links: usize,
    /// Connections over the limit that are being told so.
    pub(crate) rejected: usize,
}

impl Capacity {
    /// What `config` may have in a process with these files, whose listeners are bound.
    /// Links may take a quarter of what is left for connections, and six at least.
    ///
    /// # Errors
    /// When next to nothing is left.
    pub(crate) fn new(config: &Config, files: Option<OpenFiles>) -> anyhow::Result<Self> {
        let (max_clients, max_links) = (config.max_connections, config.max_links);
        let Some(files) = files else {
            return Ok(Self { clients: max_clients, links: max_links, rejected: REJECTED });
        };
        let own = SPARE + RUNTIME * config.shards.saturating_sub(1) + config.register_address.len();
        let left = files.free().saturating_sub(own);
        ensure!(
            left >= FEWEST,
            "the limit on open files is {}, and {} of them are taken or set aside for the gateway itself: \
             raise it to {} at least (ulimit -n), better to thousands",
            files.limit,
            files.open + own,
            files.open + own + FEWEST
        );
        let links = max_links.min(FEWEST_LINKS.max(left / 4));
        let rejected = REJECTED.min(left / 8);
        Ok(Self { clients: max_clients.min(left - links - rejected), links, rejected })
    }

    /// Says in the log how many there may be; as a warning where somebody has set a number
    /// that does not hold.
    pub(crate) fn log(&self, config: &Config, files: Option<OpenFiles>) {
        let Self { clients, links, .. } = *self;
        let open_files = files.map(|files| files.limit);
        let default = Config::default();
        let is_set_and_cut = (clients < config.max_connections
            && config.max_connections != default.max_connections)
            || (links < config.max_links && config.max_links != default.max_links);
        if is_set_and_cut {
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
                "so many clients and links are taken"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity(limit: usize) -> anyhow::Result<Capacity> {
        Capacity::new(&Config { shards: 2, ..Config::default() }, Some(OpenFiles { limit, open: 10 }))
    }

    #[test]
    fn all_connections_together_leave_descriptors_for_the_gateway_itself() {
        for limit in (43..2000).chain([65_536, 524_288, 1_048_576, usize::MAX]) {
            let Capacity { clients, links, rejected } = capacity(limit).unwrap();
            assert!(clients >= 5 && links >= FEWEST_LINKS && rejected >= 1, "{limit}");
            let own = 10 + SPARE + RUNTIME + 1;
            assert!(clients.saturating_add(links + rejected + own) <= limit, "{limit}");
        }
    }

    #[test]
    fn what_is_configured_is_what_there_may_be_where_there_is_room() {
        let all = Capacity { clients: 1_000_000, links: 10_000, rejected: REJECTED };
        assert_eq!(capacity(1_048_576).unwrap(), all);
        assert_eq!(Capacity::new(&Config::default(), None).unwrap(), all);
        let config = Config { max_connections: 20, max_links: 5, ..Config::default() };
        let some = Capacity::new(&config, Some(OpenFiles { limit: 1024, open: 10 })).unwrap();
        assert_eq!((some.clients, some.links), (20, 5));
    }

    #[test]
    fn a_limit_that_leaves_nothing_is_refused_with_one_that_would_do() {
        let error = capacity(20).unwrap_err().to_string();
        assert!(error.contains("is 20, and 31 of them") && error.contains("raise it to 43"), "{error}");
        assert!(capacity(42).is_err() && capacity(43).is_ok());
    }
}
