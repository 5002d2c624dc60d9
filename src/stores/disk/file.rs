//! The file: how it is opened, made, and let go.

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

/// What redb keeps in memory of the file. The system keeps more.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// A database, and its hold on the file.
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
    /// Lets the file go; the database notes in it that this was done in an orderly way. If that fails, it is repaired when
    /// it is next opened.
    pub(super) fn close(self) {
        let _ = caught(|| {
            drop(self.database);
            Ok(())
        });
    }

    /// Lets the file go as a process does that is killed: a database that failed is not to write anything more, which it
    /// would if it were merely closed.
    pub(super) fn abandon(self) {
        self.abandoned.store(true, Ordering::Relaxed); // read by this thread, in what follows
        self.close();
    }
}

/// Opens the store at `path`, or makes it. Both lock it.
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

/// Whether there is something in the file. An empty one is nobody's.
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

/// Makes the store under another name and gives it its own when it is whole: a process that is killed meanwhile leaves
/// no file that cannot be opened. `None` if another process was faster.
fn create(path: &Path) -> Result<Option<OpenFile>, DiskStoreError> {
    let new = beside(path);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let backend = lock(path, options.open(&new).map_err(failed(path))?)?;
    // The name may have changed hands before the lock did.
    if exists(path).map_err(failed(path))? {
        return Ok(None);
    }
    // Left behind by one who was killed.
    backend.set_len(0).map_err(failed(path))?;
    let database = begin(path, backend)?;
    table::create(&database).map_err(io::Error::other).map_err(failed(path))?;
    fs::rename(&new, path).and_then(|()| sync_directory(path)).map_err(failed(path))?;
    Ok(Some(database))
}

/// The name of a store that is being made.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".steadfast-new");
    name.into()
}

/// Makes a new name outlast a power cut. Only unix can open a directory.
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
    // The third format is the one that later versions of redb read.
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

/// A file whose new length is on the disk before anything is written that counts on it. redb does that by itself only
/// from 4.2 on; without it, a power cut while the file grows can leave one that is shorter than it says.
#[derive(Debug)]
struct Backend {
    file: FileBackend,
    /// Nothing reaches the file any more.
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

// Unix, because elsewhere a file that is locked cannot be read.
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
        // That an orderly end does write is what makes the above worth asking.
        assert!(fs::read(&path).unwrap() != before);
        fs::remove_file(&path).unwrap();
    }
}
