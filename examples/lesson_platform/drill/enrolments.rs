//! Enrolments by clients who repeat themselves: while the first request runs, after its answer was lost,
//! and after it ended. Every one of them must be charged once.

use std::time::Duration;

use callboard::RequestKey;
use futures::future::join_all;

use super::Drill;
use crate::client::{Client, Response};
use crate::web::RECEIPT;

/// So many learners enrol, one after the other, across all faults.
const LEARNERS: usize = 12;
/// Each repeats itself so often at once.
const AT_ONCE: usize = 4;
/// By then the handler has begun, and has not ended: a payment takes longer.
const MID_FLIGHT: Duration = Duration::from_millis(50);

/// What came of the enrolments.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The keys that were used, one per intention.
    pub(super) keys: Vec<RequestKey>,
    /// All requests with these keys.
    pub(super) requests: u64,
    /// How many hung up before the answer.
    pub(super) hung_up: u64,
    /// What was not as promised.
    pub(super) wrong: Vec<String>,
}

impl Drill {
    pub(super) async fn enrol_learners(&self) {
        let slugs: Vec<&str> = self
            .platform
            .library
            .lessons()
            .map(|lesson| &*lesson.slug)
            .collect();
        for number in 0..LEARNERS {
            self.at(1.0 + 1.5 * number as f64).await;
            if number == 0 {
                self.say("enrolments begin: each learner repeats the same request 5 times or more");
            }
            let form = format!(
                "learner=Learner+{number}&lesson={}",
                slugs[number % slugs.len()]
            );
            let key = RequestKey::new();
            self.enrolments.lock().keys.push(key);
            // ANCHOR: repeats
            let mut receipts = Vec::new();
            if number % 2 == 0 {
                // The answer is lost on purpose: the client hangs up while its request runs, and asks again.
                self.enrol_and_hang_up(key, &form).await;
                receipts.push(self.enrol(key, &form).await);
            }
            // Impatience: several requests at once, all of them the same intention.
            receipts.extend(join_all((0..AT_ONCE).map(|_| self.enrol(key, &form))).await);
            // And once more when all is over, to be sure.
            receipts.push(self.enrol(key, &form).await);
            // ANCHOR_END: repeats
            receipts.dedup();
            match &receipts[..] {
                [Ok(_)] => {}
                _ => self.wrong(format!(
                    "learner {number} got different answers: {receipts:?}"
                )),
            }
            if number == 0 {
                self.try_what_must_be_refused(key, &form).await;
            }
        }
        self.say(&format!("{LEARNERS} learners are enrolled"));
    }

    /// The number of the receipt.
    async fn enrol(&self, key: RequestKey, form: &str) -> Result<String, String> {
        self.enrolments.lock().requests += 1;
        let response = self.post(&key.to_string(), form).await?;
        match (response.status, response.header(RECEIPT)) {
            (200, Some(receipt)) => Ok(receipt.to_owned()),
            (status, _) => Err(format!("status {status}")),
        }
    }

    async fn enrol_and_hang_up(&self, key: RequestKey, form: &str) {
        let (client, key) = (Client::new(self.server), key.to_string());
        let moment = self.clock.sleep(MID_FLIGHT);
        match client.post_and_hang_up("/enrol", &key, form, moment).await {
            Ok(()) => {
                let mut enrolments = self.enrolments.lock();
                enrolments.requests += 1;
                enrolments.hung_up += 1;
            }
            Err(error) => self.wrong(format!("could not post: {error}")),
        }
    }

    /// A key that is used for something else, and requests that are malformed.
    async fn try_what_must_be_refused(&self, key: RequestKey, form: &str) {
        let fresh = RequestKey::new().to_string();
        let other = form.replace("Learner", "Impostor");
        for (what, key, form, expected) in [
            (
                "a key used for another enrolment",
                &*key.to_string(),
                &*other,
                409,
            ),
            ("a key that is no UUID", "twelve", form, 400),
            ("no learner", &*fresh, "lesson=x", 400),
            ("an unknown lesson", &*fresh, "learner=Mira&lesson=x", 400),
        ] {
            match self.post(key, form).await {
                Ok(response) if response.status == expected => {}
                Ok(response) => self.wrong(format!(
                    "{what}: status {}, not {expected}",
                    response.status
                )),
                Err(error) => self.wrong(format!("{what}: {error}")),
            }
        }
    }

    async fn post(&self, key: &str, form: &str) -> Result<Response, String> {
        let mut client = Client::new(self.server);
        client
            .post("/enrol", key, form)
            .await
            .map_err(|error| error.to_string())
    }

    fn wrong(&self, what: String) {
        self.enrolments.lock().wrong.push(what);
    }
}
