//! Compiles csrc/ against the libtorch that `LIBTORCH` names and links it. The same variable steers torch-sys, so both halves always
//! see one libtorch.
//!
//! NCCL is compiled in exactly when that libtorch has CUDA (lib/libtorch_cuda.so). That is no cargo feature, because torch-sys decides
//! in the same way what it links, and a feature could contradict it.

use std::path::{Path, PathBuf};

const SOURCES: [&str; 9] =
    ["status.cpp", "group.cpp", "gloo.cpp", "autograd.cpp", "optim.cpp", "memory.cpp", "stack.cpp", "fused.cpp", "fused_linear.cpp"];
/// Loops that the compiler turns into vector code. No flag here lets it change a result.
const KERNELS: &str = "fused_kernels.cpp";
const HEADER_THAT_MUST_EXIST: &str = "include/torch/csrc/distributed/c10d/ProcessGroupGloo.hpp";

const CUDA_LIBRARY: &str = "lib/libtorch_cuda.so";
const NCCL_HEADERS_THAT_MUST_EXIST: [&str; 3] =
    ["cu13/include/cuda_runtime_api.h", "cu13/include/crt/host_defines.h", "nccl/include/nccl.h"];

const SANITIZE: &str = "OSLER_SANITIZE";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(osler_cuda)");
    println!("cargo::rerun-if-changed=csrc");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    println!("cargo::rerun-if-env-changed={SANITIZE}");
    match libtorch().and_then(|root| Ok((nvidia(&root)?, root))) {
        Ok((nvidia, root)) => build(&root, nvidia.as_deref()),
        Err(reason) => println!("cargo::error={reason}"),
    }
}

fn libtorch() -> Result<PathBuf, String> {
    let root = std::env::var_os("LIBTORCH")
        .map(PathBuf::from)
        .ok_or("LIBTORCH is not set: point it at an unpacked libtorch 2.11.0, a folder with include/ and lib/ (`make` does this)")?;
    if !root.join(HEADER_THAT_MUST_EXIST).is_file() {
        return Err(format!("LIBTORCH={} has no {HEADER_THAT_MUST_EXIST}: this is not a libtorch 2.11.0 with its headers", root.display()));
    }
    Ok(root)
}

/// Where NVIDIA's headers are, beside a libtorch with CUDA as the wheels place them; none for a libtorch without.
fn nvidia(root: &Path) -> Result<Option<PathBuf>, String> {
    if !root.join(CUDA_LIBRARY).is_file() {
        return Ok(None);
    }
    let folder = root.join("../nvidia");
    match NCCL_HEADERS_THAT_MUST_EXIST.iter().find(|name| !folder.join(name).is_file()) {
        None => Ok(Some(folder)),
        Some(name) => Err(format!(
            "LIBTORCH={} has CUDA, but {} has no {name}: install NVIDIA's wheels beside it, nvidia-cuda-crt 13.0.88 too (`make build CUDA=1` does this)",
            root.display(),
            folder.display()
        )),
    }
}

fn build(root: &Path, nvidia: Option<&Path>) {
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        .pic(true)
        .opt_level(2)
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_DISTRIBUTED", None)
        .define("USE_C10D_GLOO", None)
        .define("AT_PER_OPERATOR_HEADERS", None)
        .include("csrc")
        .include("csrc/include")
        .flag_if_supported("-fvisibility=hidden")
        .flag_if_supported("-Wno-unused-parameter")
        // libtorch's threads are OpenMP's; without this its loops would run on one.
        .flag("-fopenmp")
        .files(SOURCES.map(|name| format!("csrc/{name}")));
    // The libraries' own headers are not ours to lint.
    let mut headers = vec![root.join("include"), root.join("include/torch/csrc/api/include")];
    if let Some(nvidia) = nvidia {
        headers.extend([nvidia.join("cu13/include"), nvidia.join("nccl/include")]);
        build.define("USE_C10D_NCCL", None).file("csrc/nccl.cpp");
        println!("cargo::rustc-cfg=osler_cuda");
    }
    for folder in headers {
        build.flag("-isystem").flag(folder.to_string_lossy().as_ref());
    }
    sanitized(&mut build).compile("osler_dist");
    kernels();
    if sanitize() {
        println!("cargo::rustc-link-lib=dylib=asan");
        println!("cargo::rustc-link-lib=dylib=ubsan");
    }
    println!("cargo::rustc-link-search=native={}", root.join("lib").display());
    if nvidia.is_some() {
        println!("cargo::rustc-link-lib=dylib=torch_cuda");
        println!("cargo::rustc-link-lib=dylib=c10_cuda");
    }
    println!("cargo::rustc-link-lib=dylib=torch_cpu");
    println!("cargo::rustc-link-lib=dylib=c10");
    // The soname that libtorch brings too, so there is one pool of threads.
    println!("cargo::rustc-link-lib=dylib:+verbatim=libgomp.so.1");
}

/// For `make sanitize`: csrc/ with checks of addresses and of undefined behaviour.
fn sanitize() -> bool {
    std::env::var_os(SANITIZE).is_some_and(|value| value == "1")
}

fn sanitized(build: &mut cc::Build) -> &mut cc::Build {
    if sanitize() {
        // No vptr: libtorch's types have no checks of their own to ask.
        build.flags(["-fsanitize=address,undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]);
    }
    build
}

/// After osler_dist, which calls them: a linker reads its libraries in order.
fn kernels() {
    sanitized(&mut cc::Build::new())
        .cpp(true)
        .std("c++20")
        .pic(true)
        .opt_level(3)
        .flag_if_supported("-fvisibility=hidden")
        .flag_if_supported("-fno-math-errno")
        .flag_if_supported("-fno-trapping-math")
        .file(format!("csrc/{KERNELS}"))
        .compile("osler_kernels");
}
