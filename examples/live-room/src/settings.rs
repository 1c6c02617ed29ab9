//! The settings of the worker, in the table `[app]` of its configuration, and the list of rooms.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde::Deserialize;

/// The longest room id, in characters.
const MAX_ID: usize = 64;

/// The settings of the worker.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The rooms.
    pub rooms: Rooms,
    /// The Redis that counts page views, `redis://host:port/database`. If empty, they are counted in memory.
    pub redis: String,
    /// Whether the socket only receives: then clients comment through the backend.
    pub one_way: bool,
}

impl Settings {
    /// Returns the settings with the environment's `LIVE_ROOM_REDIS`, if it is set.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        if let Ok(redis) = std::env::var("LIVE_ROOM_REDIS") {
            self.redis = redis;
        }
        self
    }
}

/// The list of rooms. A client cannot make a room.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Rooms(BTreeSet<String>);

impl Rooms {
    /// Returns the list of these rooms.
    ///
    /// # Errors
    /// The list is empty, or an id is empty, `"0"` or longer than 64 characters.
    pub fn new(ids: impl IntoIterator<Item = String>) -> anyhow::Result<Self> {
        let ids: BTreeSet<_> = ids.into_iter().collect();
        ensure!(!ids.is_empty(), "rooms: must name a room");
        for id in &ids {
            let good = !id.is_empty() && id != "0" && id.chars().count() <= MAX_ID;
            ensure!(good, "rooms: \"{id}\" is no id");
        }
        Ok(Self(ids))
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.0.contains(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &String> {
        self.0.iter()
    }
}

impl Default for Rooms {
    fn default() -> Self {
        Self(["1".to_owned(), "2".to_owned()].into())
    }
}

impl TryFrom<Vec<String>> for Rooms {
    type Error = anyhow::Error;
    fn try_from(ids: Vec<String>) -> anyhow::Result<Self> {
        Self::new(ids)
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker::businessworker::Config;

    use super::*;

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let config: Config<Settings> = toml::from_str(include_str!("../config/businessworker.toml")).unwrap();
        assert_eq!(config.app.rooms, Rooms::default());
        assert!(config.app.redis.is_empty() && !config.app.one_way);
    }

    #[test]
    fn a_room_id_is_a_valid_group_name() {
        for ids in [vec![], vec![""], vec!["0"], vec!["1", ""]] {
            assert!(Rooms::new(ids.iter().map(|id| (*id).to_owned())).is_err(), "{ids:?}");
        }
        assert!(Rooms::new(["厅".repeat(MAX_ID)]).is_ok());
        assert!(Rooms::new(["厅".repeat(MAX_ID + 1)]).is_err());
        assert!(toml::from_str::<Settings>("rooms = ['0']").is_err());
    }
}
