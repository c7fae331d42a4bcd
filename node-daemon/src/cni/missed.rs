//! Deletions that the shim wrote down while no daemon answered.

use std::path::Path;

use cni_shim::{Request, Response, intents};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use super::CniCall;

/// Carries out the deletions left in `state_dir`, and forgets those that succeeded. Returns how many.
///
/// Call it between [`bind`](super::bind) and [`serve`](super::serve): before, a shim may still find
/// nobody and write one more; after, an ADD could overtake the deletion of what it adds. (A shim
/// that wrote one down asks again, and finds the socket now.)
pub async fn replay(state_dir: &Path, calls: &mpsc::Sender<CniCall>) -> usize {
    let left = match intents::load(state_dir) {
        Ok(left) => left,
        Err(error) => {
            error!(%error, "deletions asked for while the daemon was away can't be listed");
            return 0;
        }
    };
    let mut done = 0;
    for each in left {
        match each {
            Ok(request) => done += usize::from(carry_out(state_dir, request, calls).await),
            Err((path, error)) => {
                warn!(path = %path.display(), %error, "a deletion can't be read; GC will find what it meant");
            }
        }
    }
    if done > 0 {
        info!(
            deletions = done,
            "carried out what was deleted while the daemon was away"
        );
    }
    done
}

async fn carry_out(state_dir: &Path, request: Request, calls: &mpsc::Sender<CniCall>) -> bool {
    let key = request.key();
    let (reply, answer) = oneshot::channel();
    if calls.send(CniCall { request, reply }).await.is_err() {
        return false;
    }
    match answer.await {
        Ok(Response::Done {}) => {}
        Ok(other) => {
            warn!(
                container = key.container_id,
                ?other,
                "a deletion is left for later"
            );
            return false;
        }
        // The daemon stops; the next one finds it again.
        Err(_) => return false,
    }
    if let Err(error) = intents::forget(state_dir, &key) {
        // Carried out again at the next start, it changes nothing.
        warn!(container = key.container_id, %error, "a deletion can't be forgotten");
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::request;
    use super::*;
    use cni_shim::{CniError, Command, code};

    #[tokio::test]
    async fn what_succeeds_is_forgotten_and_the_rest_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (calls, mut queue) = mpsc::channel(1);
        assert_eq!(replay(dir.path(), &calls).await, 0);
        for container in ["good", "refused", "dropped"] {
            let mut del = request(Command::Del);
            del.container_id = container.into();
            intents::record(dir.path(), &del).unwrap();
        }
        std::fs::write(dir.path().join("deletes/torn@eth0"), "{").unwrap();
        let agent = tokio::spawn(async move {
            while let Some(call) = queue.recv().await {
                let response = match call.request.container_id.as_str() {
                    "good" => Response::Done {},
                    "refused" => Response::Failed(CniError::new(code::IO_FAILURE, "disk full")),
                    _ => continue,
                };
                call.reply.send(response).unwrap();
            }
        });
        assert_eq!(replay(dir.path(), &calls).await, 1);
        drop(calls);
        agent.await.unwrap();
        let left: Vec<String> = intents::load(dir.path())
            .unwrap()
            .into_iter()
            .filter_map(|each| each.ok().map(|request| request.container_id))
            .collect();
        assert_eq!(left, ["dropped", "refused"]);
    }
}
