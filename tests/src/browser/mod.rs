//! A real browser for the end-to-end tests: headless Chromium, controlled over the DevTools protocol.
//!
//! [`Browser`] starts and ends it (`process`), [`Page`] is one page (`page`), and both send their commands over
//! one connection (`devtools`). It has what the tests of the examples' pages need: pages that share nothing with
//! each other, a mouse, a keyboard, JavaScript to look with, and a record of dialogs and console errors. It is not a
//! WebDriver, knows no frames or downloads, and trusts the pages it opens: the browser's sandbox is off, so that it
//! runs as root in a container.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! # use gatewayworker_tests::browser::Browser;
//! # use std::time::Duration;
//! let browser = Browser::launch().await?;
//! let page = browser.open("file:///chat/client.html").await?;
//! page.type_into("#username", "alice").await?;
//! page.click("#login-btn").await?;
//! page.wait_for("document.querySelector('#status').dataset.state === 'connected'", Duration::from_secs(5)).await?;
//! # Ok(())
//! # }
//! ```

mod devtools;
mod page;
mod process;

use std::io::{Error, Result};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use devtools::DevTools;
pub use page::Page;
use process::Process;

/// How long the browser may take to start and write where it listens.
const LAUNCH_LIMIT: Duration = Duration::from_secs(30);
/// How long one DevTools command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// The pause between two looks at a condition.
const POLL: Duration = Duration::from_millis(20);

/// Starts the browser with more arguments.
///
/// # Panics
/// It does not start, or none is installed. A test that needs one declares
/// [`programs::CHROMIUM`](crate::programs::CHROMIUM).
pub async fn launch(arguments: &[&str]) -> Browser {
    Browser::launch_with(arguments).await.expect("the browser starts")
}

/// Returns the program that `CHROMIUM` names, or a Chromium or Chrome on the `PATH`.
pub(crate) fn executable() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named)).filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let places = names.iter().flat_map(|name| std::env::split_paths(&path).map(move |dir| dir.join(name)));
    places.into_iter().find(|place| place.is_file())
}

/// A running headless browser with a profile of its own. Dropping it ends the process and removes the profile.
#[derive(Debug)]
pub struct Browser {
    devtools: DevTools,
    _process: Process,
}

impl Browser {
    /// Starts a browser and connects to it.
    ///
    /// # Errors
    ///
    /// There is no browser, it ends or does not listen within 30 seconds (the message has its standard error), or its
    /// DevTools endpoint does not open.
    pub async fn launch() -> Result<Self> {
        Self::launch_with(&[]).await
    }

    /// Starts a browser with more flags, and connects to it.
    ///
    /// # Errors
    ///
    /// As [`Browser::launch`].
    pub async fn launch_with(flags: &[&str]) -> Result<Self> {
        let program =
            executable().ok_or_else(|| Error::other("no chromium on the PATH and none named by CHROMIUM"))?;
        let profile = tempfile::Builder::new().prefix("browser-").tempdir()?;
        let mut process = Process::start(&program, profile, flags)?;
        let (port, path) = process.devtools_address().await?;
        let devtools = DevTools::connect(port, &path).await?;
        Ok(Self { devtools, _process: process })
    }

    /// Opens a page in a browser context of its own (no cookies, cache or storage in common with another page) and
    /// waits until it has loaded. The viewport is 1200 by 800 pixels.
    ///
    /// # Errors
    ///
    /// The page does not load within 30 seconds.
    pub async fn open(&self, url: &str) -> Result<Page> {
        let page = Page::blank(self.devtools.clone()).await?;
        page.navigate(url).await?;
        Ok(page)
    }

    /// Opens a page as [`Browser::open`] does, for a user with this language, such as `zh-CN`: the page's
    /// `navigator.language`.
    ///
    /// # Errors
    ///
    /// As [`Browser::open`].
    pub async fn open_in(&self, language: &str, url: &str) -> Result<Page> {
        let page = Page::blank(self.devtools.clone()).await?;
        let agent: String = page.eval("navigator.userAgent").await?;
        let preference = json!({ "userAgent": agent, "acceptLanguage": language });
        page.command("Emulation.setUserAgentOverride", preference).await?;
        page.navigate(url).await?;
        Ok(page)
    }
}
