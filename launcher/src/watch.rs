//! Following a run while it changes: views from its coordinator, across the coordinator's restarts, and their display.

mod display;
mod lines;

pub use display::Display;
pub use lines::{event_line, exam_line};

use crate::client::{Access, Seen};
use crate::failure::{Failure, Kind, Outcome};
use std::time::Duration;
use tokio::sync::mpsc;

const RECONNECT: Duration = Duration::from_millis(300);

#[derive(Debug)]
pub enum News {
    View(Box<Seen>),
    /// No coordinator answers; it is looked for again. Repeated while that is so.
    Away {
        again: bool,
    },
    /// The coordinator is there and refuses.
    Refused(Failure),
}

/// So often it is said again that nobody answers: whoever listens may have to act.
const AWAY_EVERY: u32 = 10;

/// Sends every view of a run until it is over; then the channel ends. Dropping the receiver ends the following.
pub fn follow(access: Access, run: String) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        tokio::select! {
            () = sender.closed() => {}
            () = send_all(&access, &run, &sender) => {}
        }
    });
    receiver
}

async fn send_all(access: &Access, run: &str, sender: &mpsc::Sender<News>) {
    let mut tries = 0;
    loop {
        match views(access, run, sender).await {
            Ok(Ended::Over) => return,
            Ok(Ended::Saw) => tries = 0,
            Ok(Ended::NotFound) => {}
            Err(refused) => {
                let _nobody_listens = sender.send(News::Refused(refused)).await;
                return;
            }
        }
        if tries % AWAY_EVERY == 0 && sender.send(News::Away { again: tries > 0 }).await.is_err() {
            return;
        }
        tries = tries.saturating_add(1);
        tokio::time::sleep(RECONNECT).await;
    }
}

enum Ended {
    Over,
    /// Views came, then the coordinator went away.
    Saw,
    NotFound,
}

async fn views(access: &Access, run: &str, sender: &mpsc::Sender<News>) -> Outcome<Ended> {
    // A named coordinator that is away is looked for again as well.
    let Ok(Some(mut coordinator)) = access.coordinator().await else { return Ok(Ended::NotFound) };
    let mut views = match coordinator.watch(run).await {
        Ok(views) => views,
        Err(refused) if refused.kind() == Kind::Usage => return Err(refused),
        Err(_) => return Ok(Ended::NotFound),
    };
    let mut saw = Ended::NotFound;
    while let Some(view) = views.next().await? {
        let over = !view.record.state.is_live();
        if sender.send(News::View(Box::new(view))).await.is_err() || over {
            return Ok(Ended::Over);
        }
        saw = Ended::Saw;
    }
    Ok(saw)
}
