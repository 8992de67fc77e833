//! One shared secret per cluster, in a file that only its owner may read. Every call carries it; it is never logged.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

const HEADER: &str = "authorization";
const BYTES: usize = 32;

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("token file {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("token file {path} can be read by others (mode {mode:o}): run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error("token file {path} does not hold a token (64 hexadecimal digits): delete it to have a new one made")]
    Malformed { path: PathBuf },
}

/// The secret. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Where a user's token is kept when nobody says otherwise: `$XDG_CONFIG_HOME/osler/token`, or below `~/.config`.
pub fn default_token_file() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(folder("HOME")?.join(".config")))?;
    Some(config.join("osler/token"))
}

impl Token {
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let mode = fs::metadata(path).map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(TokenError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = String::new();
        File::open(path).map_err(io)?.take(1024).read_to_string(&mut text).map_err(io)?;
        let token = text.trim();
        if token.len() == 2 * BYTES && token.bytes().all(|b| b.is_ascii_hexdigit()) {
            Ok(Self(token.to_owned()))
        } else {
            Err(TokenError::Malformed { path: path.to_owned() })
        }
    }

    /// Makes the file if it is not there, then loads it. Two processes that race agree on one secret.
    pub fn load_or_create(path: &Path) -> Result<Self, TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        if !path.exists() {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(io)?;
            }
            let mut secret = [0; BYTES];
            File::open("/dev/urandom").and_then(|mut f| f.read_exact(&mut secret)).map_err(io)?;
            let temporary = path.with_extension(format!("new-{}", std::process::id()));
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
            file.write_all(hex::encode(secret).as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
            // A hard link fails when the name is taken: whoever came first wins and the file is never half-written.
            let linked = fs::hard_link(&temporary, path);
            fs::remove_file(&temporary).map_err(io)?;
            linked.or_else(|e| if e.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(e) }).map_err(io)?;
        }
        Self::load(path)
    }

    fn header(&self) -> Result<MetadataValue<Ascii>, Status> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", self.0).parse().map_err(|_| Status::internal("the token cannot be sent"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Client side: adds the token to every call.
#[derive(Debug, Clone)]
pub struct WithToken(pub Token);

impl Interceptor for WithToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(HEADER, self.0.header()?);
        Ok(request)
    }
}

/// Server side: refuses calls without the token, in constant time.
#[derive(Debug, Clone)]
pub struct RequireToken(pub Token);

impl Interceptor for RequireToken {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get(HEADER).map(|v| v.as_bytes()).unwrap_or_default();
        let right = format!("Bearer {}", self.0.0);
        if bool::from(given.ct_eq(right.as_bytes())) {
            Ok(request)
        } else {
            Err(Status::unauthenticated("the token is missing or wrong: use the coordinator's token file (--token-file)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_made_once_and_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/token");
        let first = Token::load_or_create(&path).unwrap();
        assert_eq!(Token::load_or_create(&path).unwrap().0, first.0);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "temporary files were left behind");
        assert!(!format!("{first:?}").contains(&first.0));
    }

    #[test]
    fn exposed_and_malformed_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        Token::load_or_create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Token::load(&path), Err(TokenError::Exposed { mode: 0o644, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "secret").unwrap();
        assert!(matches!(Token::load(&path), Err(TokenError::Malformed { .. })));
    }

    #[test]
    fn only_the_right_token_passes() {
        let folder = tempfile::tempdir().unwrap();
        let right = Token::load_or_create(&folder.path().join("1")).unwrap();
        let wrong = Token::load_or_create(&folder.path().join("2")).unwrap();
        let mut server = RequireToken(right.clone());
        assert!(server.call(WithToken(right).call(Request::new(())).unwrap()).is_ok());
        assert!(server.call(WithToken(wrong).call(Request::new(())).unwrap()).is_err());
        assert!(server.call(Request::new(())).is_err());
    }
}
