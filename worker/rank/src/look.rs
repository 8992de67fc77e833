//! Where the main thread stands, in lines for people; asked for when the gang makes no steps.

use osler_torch_dist::stack;
use std::ffi::c_void;
use std::time::Duration;

/// An answer takes microseconds; a thread that cannot be interrupted gives none.
const PATIENCE: Duration = Duration::from_secs(2);
const FRAMES: usize = 24;
const NAME: usize = 160;

/// The calls that the main thread is in, innermost first.
pub fn at_main_thread() -> Vec<String> {
    let frames = match stack::take(PATIENCE) {
        Ok(frames) => frames,
        Err(error) => return vec![format!("the main thread does not say where it stands: {error}")],
    };
    let mut calls = vec![];
    for frame in frames {
        let mut known = false;
        backtrace::resolve(frame as *mut c_void, |symbol| {
            known = true;
            let name = symbol.name().map_or_else(|| "?".to_owned(), |name| name.to_string());
            let place = symbol.filename().zip(symbol.lineno());
            let place = place.map(|(file, line)| format!(" at {}:{line}", file.display())).unwrap_or_default();
            calls.push(format!("{}{place}", name.chars().take(NAME).collect::<String>()));
        });
        if !known {
            calls.push(format!("{frame:#x}"));
        }
    }
    let left_out = calls.len().saturating_sub(FRAMES);
    let mut lines: Vec<String> = calls.into_iter().take(FRAMES).map(|call| format!("  in {call}")).collect();
    lines.insert(0, "main thread, innermost call first:".to_owned());
    if left_out > 0 {
        lines.push(format!("  and {left_out} calls around these"));
    }
    lines
}
