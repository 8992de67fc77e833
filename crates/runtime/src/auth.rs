//! Secrets in files that only their owner may read. Every call carries one; none is ever logged, stored or sent back.

use osler_core::digest::Digest;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
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
        if !path.exists() {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).map_err(|source| TokenError::Io { path: path.to_owned(), source })?;
            }
            match Self::random()?.save_new(path) {
                Err(TokenError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
                other => other?,
            }
        }
        Self::load(path)
    }

    /// A new secret of 256 bits.
    pub fn random() -> Result<Self, TokenError> {
        let source = Path::new("/dev/urandom");
        let mut secret = [0; BYTES];
        let read = File::open(source).and_then(|mut f| f.read_exact(&mut secret));
        read.map_err(|error| TokenError::Io { path: source.to_owned(), source: error })?;
        Ok(Self(hex::encode(secret)))
    }

    /// Into a file that is not there yet.
    pub fn save_new(&self, path: &Path) -> Result<(), TokenError> {
        let io = |source| TokenError::Io { path: path.to_owned(), source };
        let temporary = path.with_extension(format!("new-{}", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).map_err(io)?;
        file.write_all(self.0.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
        // A hard link fails when the name is taken: whoever came first wins and the file is never half-written.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary).map_err(io)?;
        linked.map_err(io)
    }

    /// The secret itself: for the person who made it, and nobody else.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// By which a coordinator knows the token.
    pub fn sha256(&self) -> Digest {
        Digest::of(self.0.as_bytes())
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

/// Server side: the digest of the token that a call carries; none if it carries nothing that could be one. Servers keep digests and
/// compare digests, so how long a comparison takes tells nothing of a secret.
pub fn presented(metadata: &http::HeaderMap) -> Option<Digest> {
    let secret = metadata.get(HEADER)?.as_bytes().strip_prefix(b"Bearer ")?;
    (secret.len() == 2 * BYTES && secret.iter().all(u8::is_ascii_hexdigit)).then(|| Digest::of(secret))
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
    fn a_call_is_known_by_the_digest_of_its_token_and_by_nothing_that_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let token = Token::load_or_create(&folder.path().join("1")).unwrap();
        let call = WithToken(token.clone()).call(Request::new(())).unwrap();
        let headers = call.metadata().clone().into_headers();
        assert_eq!(presented(&headers), Some(token.sha256()));
        assert!(!format!("{headers:?}").contains(&token.0), "the header shows the secret");
        let short = "a".repeat(63);
        for bad in ["", "Bearer ", "Bearer secret", &format!("Bearer {short}"), &format!("Bearer {short}g"), &format!("Basic {short}a")] {
            let headers = [(http::header::AUTHORIZATION, bad.parse().unwrap())].into_iter().collect();
            assert_eq!(presented(&headers), None, "{bad}");
        }
        assert_eq!(presented(&http::HeaderMap::new()), None);
    }
}
