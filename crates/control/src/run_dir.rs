//! The run directory of a cluster: a lock, so that one cluster runs there at a time, in a file with the process id;
//! the control socket; the log of a cluster in the background; and the token of the page. The supervisor takes the lock, the commands look
//! who holds it; a crash leaves no lock behind.
//!
//! The user who started the cluster controls it, and root. Where the group of the directory may write to it, the group
//! does, too: it could exchange the files anyway.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Error, anyhow, bail};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// How often to try to take the lock, and how long to wait in between.
const LOCK_TRIES: u32 = 200;
const LOCK_WAIT: Duration = Duration::from_millis(7);

/// How long a token is that a start draws.
const TOKEN_BYTES: usize = 24;

/// A run directory.
#[derive(Debug, Clone)]
pub(crate) struct RunDir(PathBuf);

/// The lock: the right to run a cluster here until it is dropped, or the process is gone.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// The process that has the lock, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// No process has it: no cluster runs.
    Nobody,
    /// The process with this id; the id is empty while the process has not written it.
    Process(String),
}

impl RunDir {
    /// The run directory at `directory`, which may not exist yet.
    ///
    /// # Errors
    /// When the current directory is gone, and `directory` is relative to it.
    pub(crate) fn new(directory: &Path) -> anyhow::Result<Self> {
        let name = directory.display();
        std::path::absolute(directory).map(Self).with_context(|| format!("--run-dir {name}"))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("control.sock")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.0.join("gatewayworker.log")
    }

    /// Returns the file with the token of the page for operators. Where it is not there, or empty, draws a token and
    /// writes it, for this user alone.
    ///
    /// # Errors
    /// When that is not possible.
    pub(crate) fn admin_token(&self) -> anyhow::Result<PathBuf> {
        self.make()?;
        let path = self.0.join("admin-token");
        let name = path.display();
        let make = || {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .custom_flags(OFlags::NOFOLLOW.bits() as i32)
                .open(&path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            if file.metadata()?.len() == 0 {
                let token = data_encoding::HEXLOWER.encode(&rand::random::<[u8; TOKEN_BYTES]>());
                file.write_all(format!("{token}\n").as_bytes())?;
            }
            std::io::Result::Ok(())
        };
        make().with_context(|| format!("cannot write {name} (--run-dir)"))?;
        Ok(path)
    }

    fn process_id(&self) -> PathBuf {
        self.0.join("gatewayworker.pid")
    }

    /// Makes the directory if it does not exist, for this user alone, and has version control ignore it.
    ///
    /// # Errors
    /// When that is not possible.
    pub(crate) fn make(&self) -> anyhow::Result<()> {
        let directory = self.0.display();
        if self.0 == Path::new("/run") {
            // The default of a start in `/`.
            bail!("{directory} belongs to the system: start in another directory, or name one by --run-dir");
        }
        if self.0.is_dir() {
            return Ok(());
        }
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .with_context(|| format!("cannot make {directory} (--run-dir)"))?;
        // A failure does no harm.
        let _ = fs::write(self.0.join(".gitignore"), "*\n");
        Ok(())
    }

    /// Returns whether the directory's group controls the cluster.
    fn is_shared_with_group(&self) -> bool {
        fs::metadata(&self.0).is_ok_and(|directory| directory.permissions().mode() & 0o020 != 0)
    }

    /// Returns the permissions of the control socket: those who may open it control the cluster.
    pub(crate) fn socket_permissions(&self) -> Permissions {
        Permissions::from_mode(if self.is_shared_with_group() { 0o660 } else { 0o600 })
    }

    /// Takes the lock, and writes this process's id into its file.
    ///
    /// # Errors
    /// [`AlreadyRuns`], or that the directory cannot be written to.
    pub(crate) fn lock(&self) -> anyhow::Result<Lock> {
        let path = self.process_id();
        let name = path.display();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {name} (--run-dir)"))?;
        if self.is_shared_with_group() {
            // Not by the mode above, from which the umask takes rights away. Where the file is another user's, it has
            // its permissions already.
            let _ = file.set_permissions(Permissions::from_mode(0o640));
        }
        for _ in 0..LOCK_TRIES {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Lock::of_this_process(file).with_context(|| format!("cannot write {name}")),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(error) => return Err(error).with_context(|| format!("cannot lock {name} (--run-dir)")),
            }
            if self.holder()? != Holder::Nobody {
                break;
            }
            // Another process only looked who has it, and had it for that long.
            std::thread::sleep(LOCK_WAIT);
        }
        let mut message = format!("{}: a cluster runs here already", self.0.display());
        // The other process may not have written its id yet.
        match read_id(&mut file) {
            id if id.is_empty() => {}
            id => message += &format!(", as process {id}"),
        }
        Err(AlreadyRuns(message).into())
    }

    /// Returns the process that has the lock.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn holder(&self) -> anyhow::Result<Holder> {
        self.look(FlockOperation::NonBlockingLockShared)
    }

    /// Waits until no process has the lock.
    ///
    /// # Errors
    /// As [`RunDir::holder`].
    pub(crate) fn wait_until_free(&self) -> anyhow::Result<()> {
        self.look(FlockOperation::LockShared).map(drop)
    }

    /// The error for a user who may not ask the cluster that runs here.
    pub(crate) fn forbidden(&self) -> Error {
        let directory = self.0.display();
        let group = if self.is_shared_with_group() { ", or be in the group of this directory" } else { "" };
        anyhow!(
            "{directory}: only the user who started the cluster there may ask it: use sudo{group} (permission denied)"
        )
    }

    fn look(&self, how: FlockOperation) -> anyhow::Result<Holder> {
        let path = self.process_id();
        let mut file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Holder::Nobody),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(self.forbidden()),
            file => file.with_context(|| format!("cannot open {}", path.display()))?,
        };
        loop {
            return match flock(&file, how) {
                Ok(()) => Ok(Holder::Nobody),
                Err(Errno::WOULDBLOCK) => Ok(Holder::Process(read_id(&mut file))),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
            };
        }
    }
}

impl Lock {
    /// Writes this process's id into `file`, which is locked.
    fn of_this_process(mut file: File) -> std::io::Result<Self> {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self(file))
    }
}

/// A cluster runs in the run directory already.
#[derive(Debug)]
pub(crate) struct AlreadyRuns(String);

impl std::fmt::Display for AlreadyRuns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AlreadyRuns {}

impl Drop for Lock {
    /// Leaves an empty file: no process id.
    fn drop(&mut self) {
        let _ = self.0.set_len(0);
    }
}

fn read_id(file: &mut File) -> String {
    let mut id = String::new();
    let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(32).read_to_string(&mut id));
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_in(directory: &tempfile::TempDir) -> RunDir {
        let run_dir = RunDir::new(&directory.path().join("run")).unwrap();
        run_dir.make().unwrap();
        run_dir
    }

    #[test]
    fn the_systems_own_run_is_nobodys_run_directory() {
        let refused = RunDir::new(Path::new("/run")).unwrap().make().unwrap_err();
        assert!(refused.to_string().contains("--run-dir"), "{refused}");
    }

    #[test]
    fn one_cluster_at_a_time_runs_in_a_directory_and_its_process_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let here = made_in(&directory);
        assert_eq!(here.holder().unwrap(), Holder::Nobody);
        let lock = here.lock().unwrap();
        let process = std::process::id().to_string();
        assert_eq!(here.holder().unwrap(), Holder::Process(process.clone()));
        let refused = here.lock().unwrap_err();
        assert!(refused.downcast_ref::<AlreadyRuns>().is_some());
        assert!(refused.to_string().ends_with(&format!("as process {process}")), "{refused}");
        drop(lock);
        assert_eq!(here.holder().unwrap(), Holder::Nobody);
        here.wait_until_free().unwrap();
        here.lock().unwrap();
    }

    #[test]
    fn a_look_at_the_lock_does_not_keep_a_cluster_from_starting() {
        let directory = tempfile::tempdir().unwrap();
        let here = made_in(&directory);
        drop(here.lock().unwrap());
        let looker = here.clone();
        let looking = std::thread::spawn(move || (0..1000).for_each(|_| drop(looker.holder().unwrap())));
        while !looking.is_finished() {
            here.lock().unwrap();
        }
        looking.join().unwrap();
    }

    #[test]
    fn a_token_is_drawn_once_and_is_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let here = made_in(&directory);
        let file = here.admin_token().unwrap();
        let token = fs::read_to_string(&file).unwrap();
        assert_eq!(token.trim_end().len(), 2 * TOKEN_BYTES);
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(here.admin_token().unwrap(), file);
        assert_eq!(fs::read_to_string(&file).unwrap(), token);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let other = RunDir::new(&directory.path().join("other")).unwrap().admin_token().unwrap();
        assert_ne!(fs::read_to_string(other).unwrap(), token);
    }

    #[test]
    fn the_group_that_may_write_to_the_directory_controls_the_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let here = made_in(&directory);
        let lock = here.lock().unwrap();
        let of_lock = || fs::metadata(here.process_id()).unwrap().permissions().mode() & 0o777;
        assert_eq!((of_lock(), here.socket_permissions().mode()), (0o600, 0o600));
        drop(lock);
        fs::set_permissions(here.path(), Permissions::from_mode(0o770)).unwrap();
        let _lock = here.lock().unwrap();
        assert_eq!((of_lock(), here.socket_permissions().mode()), (0o640, 0o660));
    }

    #[test]
    fn a_run_directory_is_private_and_keeps_itself_out_of_version_control() {
        let directory = tempfile::tempdir().unwrap();
        let here = made_in(&directory);
        assert_eq!(fs::metadata(here.path()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_to_string(here.path().join(".gitignore")).unwrap(), "*\n");
    }
}
