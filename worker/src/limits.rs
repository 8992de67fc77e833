//! What a job process may have: memory, and what it sees of its agent's environment.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use osler_core::process::Assignment;
use osler_runtime::memory;

/// Bounds what this process can allocate, so that one that grows without end fails by itself, before the kernel looks for a victim.
/// Mapped files do not count. Jobs with libtorch are bounded only where the run file says so: a device's driver reserves far more than it uses.
pub fn bound_memory(assignment: &Assignment) -> anyhow::Result<()> {
    let given = assignment.spec.limits.memory_mib.of(&assignment.kind).map(|mib| mib.saturating_mul(1 << 20));
    let usual = || if assignment.kind.needs_torch() { None } else { memory::total() };
    let Some(most) = given.or_else(usual) else { return Ok(()) };
    let (soft, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    setrlimit(Resource::RLIMIT_DATA, most.min(soft), hard)?;
    Ok(())
}

/// What a process inherits of its agent's environment, by name or by the beginning of it: how to find and set up programs, libraries, devices
/// and networks, and who may read the store. Tokens and keys of other things stay with whoever started the agent.
const INHERITED: [&str; 15] = [
    "HOME",
    "LANG",
    "KRB5CCNAME",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LOGNAME",
    "OSLER_LOG",
    "PATH",
    "RUST_BACKTRACE",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TMPDIR",
    "TZ",
    "USER",
    "VIRTUAL_ENV",
];
const INHERITED_PREFIXES: [&str; 17] = [
    "ATEN_", "AWS_", "CUBLAS_", "CUDA_", "CUDNN_", "FI_", "GLOO_", "GOMP_", "KMP_", "LC_", "MALLOC_", "MKL_", "NCCL_", "NVIDIA_", "OMP_",
    "TORCH_", "UCX_",
];

/// Whether a job's process sees this variable.
pub fn inherited(name: &str) -> bool {
    let proxy = name.to_ascii_lowercase().ends_with("_proxy");
    proxy || INHERITED.contains(&name) || INHERITED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::inherited;

    #[test]
    fn what_is_needed_is_inherited_and_secrets_of_others_are_not() {
        for name in
            ["PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NCCL_SOCKET_IFNAME", "AWS_ACCESS_KEY_ID", "https_proxy", "NO_PROXY"]
        {
            assert!(inherited(name), "{name}");
        }
        for name in ["HF_TOKEN", "OSLER_TOKEN_FILE", "OSLER_TLS", "GITHUB_TOKEN", "SSH_AUTH_SOCK", "PYTHONPATH", ""] {
            assert!(!inherited(name), "{name}");
        }
    }
}
