//! Opens, creates and closes the file of a disk store, so that neither a kill nor a power failure damages the file.
//!
//! - A new store is created under a temporary name and renamed when complete.
//! - When the file grows, its new length is synced before redb relies on the length. redb itself does so only from
//!   version 4.2 on.
//! - A failed database is abandoned: from then on its file operations fail, so redb writes nothing more. The file is
//!   then opened again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend, StorageError};

use super::error::{DiskFault, DiskStoreError, caught};
use super::table::{self, Totals, VERSION};

/// The size of redb's page cache. The operating system caches more of the file.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A database whose file is locked. Once `abandoned` is true, all operations on the file fail.
#[derive(Debug)]
pub(super) struct OpenFile {
    database: Database,
    abandoned: Arc<AtomicBool>,
}

impl Deref for OpenFile {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl OpenFile {
    /// Closes the file in an orderly way, which redb records in the file. If closing fails, the next open repairs the
    /// file.
    pub(super) fn close(self) {
        let _ = caught(|| {
            drop(self.database);
            Ok(())
        });
    }

    /// Closes the file without further writes, as if the process were killed. An orderly close would write, and a
    /// failed database must not write.
    pub(super) fn abandon(self) {
        self.abandoned.store(true, Ordering::Relaxed); // Relaxed: `close` reads the flag on this thread.
        self.close();
    }
}

/// Opens the store at `path`, or creates it, and locks the file.
pub(super) fn open(path: &Path) -> Result<(OpenFile, Totals), DiskStoreError> {
    caught(|| Ok(try_open(path))).unwrap_or_else(|cause| Err(damaged(path, cause)))
}

fn try_open(path: &Path) -> Result<(OpenFile, Totals), DiskStoreError> {
    let database = loop {
        if exists(path).map_err(failed(path))? {
            break open_existing(path)?;
        }
        if let Some(database) = create(path)? {
            break database;
        }
    };
    let totals = table::totals(&database).map_err(|error| damaged(path, error.into()))?;
    Ok((database, totals))
}

/// True if the file exists and is not empty. An empty file counts as absent.
fn exists(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn open_existing(path: &Path) -> Result<OpenFile, DiskStoreError> {
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(failed(path))?;
    let database = begin(path, lock(path, file)?)?;
    match table::version(&database).map_err(|error| damaged(path, error.into()))? {
        Some(VERSION) => Ok(database),
        Some(found) => Err(DiskStoreError::Version { path: path.to_owned(), found, expected: VERSION }),
        None => Err(DiskStoreError::Foreign { path: path.to_owned() }),
    }
}

/// Creates the store under a temporary name and renames it when complete, so that a killed process leaves no broken
/// store. Returns `None` if another process was faster.
fn create(path: &Path) -> Result<Option<OpenFile>, DiskStoreError> {
    let new = beside(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let backend = lock(path, options.open(&new).map_err(failed(path))?)?;
    // Another process may have created and renamed the file before this process got the lock.
    if exists(path).map_err(failed(path))? {
        return Ok(None);
    }
    // Remove the remains of a process that was killed while it created the store.
    backend.set_len(0).map_err(failed(path))?;
    let database = begin(path, backend)?;
    table::create(&database).map_err(io::Error::other).map_err(failed(path))?;
    fs::rename(&new, path).and_then(|()| sync_directory(path)).map_err(failed(path))?;
    Ok(Some(database))
}

/// The temporary name of a store during its creation.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".steadfast-new");
    name.into()
}

/// Syncs the directory, so that the new name survives a power failure. Only Unix can open a directory.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn lock(path: &Path, file: File) -> Result<Backend, DiskStoreError> {
    let file = FileBackend::new(file).map_err(|error| explain(path, error))?;
    Ok(Backend { file, abandoned: Arc::default() })
}

fn begin(path: &Path, backend: Backend) -> Result<OpenFile, DiskStoreError> {
    let abandoned = Arc::clone(&backend.abandoned);
    let mut builder = Builder::new();
    // Later versions of redb read only format 3.
    builder.set_cache_size(CACHE_BYTES).create_with_file_format_v3(true);
    let database = builder.create_with_backend(backend).map_err(|error| explain(path, error))?;
    Ok(OpenFile { database, abandoned })
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DiskStoreError {
    let path = path.to_owned();
    |source| DiskStoreError::Open { path, source }
}

fn explain(path: &Path, error: DatabaseError) -> DiskStoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => DiskStoreError::Locked { path },
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            DiskStoreError::Foreign { path }
        }
        DatabaseError::Storage(StorageError::Io(source)) => DiskStoreError::Open { path, source },
        error => damaged(&path, Arc::new(error)),
    }
}

fn damaged(path: &Path, source: DiskFault) -> DiskStoreError {
    DiskStoreError::Damaged { path: path.to_owned(), source }
}

/// A file that syncs each new length at once. Without the sync, a power failure during growth can leave a file that
/// is shorter than its header states. redb itself syncs the length only from version 4.2 on.
#[derive(Debug)]
struct Backend {
    file: FileBackend,
    /// True once the file is abandoned: every operation fails from then on.
    abandoned: Arc<AtomicBool>,
}

impl Backend {
    fn file(&self) -> io::Result<&FileBackend> {
        if self.abandoned.load(Ordering::Relaxed) {
            return Err(io::Error::other("the file was abandoned"));
        }
        Ok(&self.file)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file()?.len()
    }

    fn read(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.file()?.read(offset, len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.file()?;
        file.set_len(len)?;
        file.sync_data(false)
    }

    fn sync_data(&self, eventual: bool) -> io::Result<()> {
        self.file()?.sync_data(eventual)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file()?.write(offset, data)
    }
}

// Only on Unix, because elsewhere a locked file cannot be read.
#[cfg(all(test, unix))]
mod tests {
    use std::{env, process};

    use super::*;

    #[test]
    fn an_abandoned_file_is_left_as_it_is_and_opens_again() {
        let path = env::temp_dir().join(format!("steadfast-abandoned-{}", process::id()));
        let (opened, _) = open(&path).unwrap();
        let transaction = opened.begin_write().unwrap();
        transaction.commit().unwrap();
        let before = fs::read(&path).unwrap();
        opened.abandon();
        assert!(fs::read(&path).unwrap() == before);

        let (opened, _) = open(&path).unwrap();
        opened.close();
        // The contrast to the first half of this test: an orderly close does write.
        assert!(fs::read(&path).unwrap() != before);
        fs::remove_file(&path).unwrap();
    }
}
