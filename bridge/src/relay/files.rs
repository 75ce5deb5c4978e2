//! Which files of messages are uploaded.

use std::sync::Arc;

use time::OffsetDateTime;

use super::Relay;
use crate::{
    attachments::{Candidate, Withheld},
    render::Rendered,
    source::Delivery,
};

impl Relay {
    /// A message as it was rendered, without its file if that must not be uploaded. Then its text says so. `current`
    /// is the first message that is not done with.
    pub(super) async fn within_budget(
        &mut self,
        current: &Delivery,
        delivery: &Delivery,
        rendered: Rendered,
    ) -> Rendered {
        let Some(file) = &rendered.attachment else { return rendered };
        let size = file.bytes.len();
        let Err(why) = self.may_upload(current, delivery, size).await else { return rendered };
        self.health.metrics.withheld.inc();
        self.renderer.without_file(rendered, why, &self.route.stream, delivery.sequence)
    }

    async fn may_upload(
        &mut self,
        current: &Delivery,
        delivery: &Delivery,
        size: usize,
    ) -> Result<(), Withheld> {
        let (account, stop) = (Arc::clone(&self.account), self.stop.clone());
        // Where it does not say, or not now, the upload will tell.
        let limit = stop.run_until_cancelled(account.upload_limit());
        let limit = self.source.keep_while(current, Box::pin(limit)).await.flatten();
        if let Some(limit) = limit.filter(|limit| size as u64 > *limit) {
            return Err(Withheld::TooLarge(limit));
        }
        let Some(stream) = self.source.stream() else { return Ok(()) };
        let candidate = Candidate::of(delivery, current.sequence, &stream.created, size);
        self.budget.lock().await.take(candidate, OffsetDateTime::now_utc())
    }
}
