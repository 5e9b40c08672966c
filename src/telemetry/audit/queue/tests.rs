use super::super::record::samples;
use super::*;

fn spare(drain: &QueueDrain) -> Vec<Batch> {
    (0..drain.buffers()).map(|_| Batch::default()).collect()
}

#[test]
fn there_is_as_much_room_as_was_said_and_no_more() {
    let queue = AuditQueue::new(2, 3);
    let slots: Vec<_> = (0..3).map(|i| queue.worker(i).try_reserve().unwrap()).collect();
    assert!(queue.try_reserve().is_none());
    assert!(queue.worker(1).try_reserve().is_none());
    drop(slots);
    assert!(queue.try_reserve().is_some());
}

#[test]
fn a_slot_dropped_unfilled_gives_its_room_back_and_leaves_no_record() {
    let queue = AuditQueue::new(1, 1);
    drop(queue.try_reserve().unwrap());
    assert!(queue.try_reserve().is_some());
    assert!(!queue.drain().take(&mut [Batch::default()]));
    assert_eq!(queue.counts(), AuditCounts::default());
}

#[test]
fn a_filled_slot_keeps_its_room_until_it_is_written() {
    let queue = AuditQueue::new(1, 1);
    queue.try_reserve().unwrap().fill(&samples::full());
    assert!(queue.try_reserve().is_none());
    let drain = queue.drain();
    let mut batches = spare(&drain);
    assert!(drain.take(&mut batches));
    assert!(queue.try_reserve().is_none(), "taken is not written");
    assert_eq!(queue.counts().queued, 1);
    drain.count_written(1);
    drain.give_back(batches[0].units());
    assert_eq!(queue.counts(), AuditCounts { written: 1, ..AuditCounts::default() });
    assert!(queue.try_reserve().is_some());
}

#[test]
fn long_records_take_room_by_their_bytes() {
    let queue = AuditQueue::new(1, 40);
    let path = vec![b'a'; 16 * 1024];
    let long = AuditRecord { path: Some(&path), ..samples::bare() };
    queue.try_reserve().unwrap().fill(&long);
    queue.try_reserve().unwrap().fill(&long);
    let left = std::iter::from_fn(|| queue.try_reserve()).collect::<Vec<_>>();
    assert_eq!(left.len(), 40 - 2 * 17);
    drop(left);
    let drain = queue.drain();
    let mut batches = spare(&drain);
    drain.take(&mut batches);
    assert_eq!(batches[0].units(), 34);
}

#[test]
fn a_slot_given_out_can_be_filled_whatever_its_length() {
    let queue = AuditQueue::new(1, 2);
    let path = vec![b'a'; 16 * 1024];
    queue.try_reserve().unwrap().fill(&AuditRecord { path: Some(&path), ..samples::bare() });
    let drain = queue.drain();
    let mut batches = spare(&drain);
    drain.take(&mut batches);
    assert_eq!((batches[0].len(), batches[0].units()), (1, 1));
}

#[test]
fn a_worker_fills_its_own_buffer() {
    let queue = AuditQueue::new(2, 10);
    queue.worker(0).try_reserve().unwrap().fill(&samples::full());
    queue.worker(1).try_reserve().unwrap().fill(&samples::full());
    queue.worker(1).try_reserve().unwrap().fill(&samples::full());
    let drain = queue.drain();
    let mut batches = spare(&drain);
    drain.take(&mut batches);
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn changes_of_state_need_no_room_but_are_bounded() {
    let queue = AuditQueue::new(2, 1);
    let _slot = queue.try_reserve().unwrap();
    for _ in 0..=MAX_CHANGES {
        queue.worker(1).state_change(samples::change());
    }
    assert_eq!(queue.counts().queued, MAX_CHANGES as u64);
    assert_eq!(queue.counts().dropped, 1);
}

#[test]
fn drops_are_told_to_the_writer_once() {
    let queue = AuditQueue::new(1, 1);
    let mut drain = queue.drain();
    queue.count_dropped();
    queue.count_dropped();
    assert_eq!(drain.newly_dropped(), 2);
    assert_eq!(drain.newly_dropped(), 0);
    assert_eq!(queue.counts().dropped, 2);
}

#[test]
fn after_the_end_records_are_counted_as_dropped_and_give_their_room_back() {
    let queue = AuditQueue::new(1, 1);
    let slot = queue.try_reserve().unwrap();
    let drain = queue.drain();
    drain.close();
    slot.fill(&samples::full());
    queue.state_change(samples::change());
    assert_eq!(queue.counts(), AuditCounts { dropped: 2, ..AuditCounts::default() });
    assert!(queue.try_reserve().is_some());
}

#[test]
fn the_writer_does_not_fall_asleep_over_a_record() {
    let queue = AuditQueue::new(2, 10);
    let drain = queue.drain();
    assert!(drain.fall_asleep());
    drain.awake();
    queue.worker(1).try_reserve().unwrap().fill(&samples::full());
    assert!(!drain.fall_asleep());
}

#[test]
fn a_record_wakes_a_sleeping_writer() {
    let queue = AuditQueue::new(1, 10);
    let drain = queue.drain();
    let (asleep, wait) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        drain.writer_is(std::thread::current());
        assert!(drain.fall_asleep());
        asleep.send(()).unwrap();
        let mut batches = spare(&drain);
        while !drain.take(&mut batches) {
            std::thread::park();
        }
        batches[0].len()
    });
    wait.recv().unwrap();
    queue.try_reserve().unwrap().fill(&samples::full());
    assert_eq!(sleeper.join().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_gets_the_room_that_becomes_free() {
    let queue = AuditQueue::new(1, 1);
    let slot = queue.try_reserve().unwrap();
    let waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.reserve().await.is_some() }
    });
    tokio::task::yield_now().await;
    drop(slot);
    assert!(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_told_after_a_second() {
    let queue = AuditQueue::new(1, 1);
    let _slot = queue.try_reserve().unwrap();
    let began = tokio::time::Instant::now();
    assert!(queue.reserve().await.is_none());
    assert_eq!(began.elapsed(), RESERVE_TIMEOUT);
}
