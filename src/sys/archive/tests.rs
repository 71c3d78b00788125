//! Record columns: what comes back, through payloads and picks, and payloads that are damaged.

use proptest::prelude::*;

use super::*;

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Flat {
    at_ms: i64,
    page: u32,
    seen: bool,
}

#[derive(Archive, Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Tall {
    name: String,
    ids: Vec<u64>,
    next: Option<Box<str>>,
}

fn native<T: Record>(archived: &T::Archived) -> T
where
    T::Archived: Deserialize<T, rkyv::api::high::HighDeserializer<Error>>,
{
    rkyv::deserialize::<T, Error>(archived).unwrap()
}

fn check<T: Record + Clone + PartialEq + std::fmt::Debug>(records: &[T], picked: &[u32])
where
    T::Archived: Deserialize<T, rkyv::api::high::HighDeserializer<Error>>,
{
    let mut builder = ArchiveBuilder::<T>::default();
    records.iter().for_each(|record| builder.push(record).unwrap());
    let column = builder.finish();
    let archives = Archives::<T::Archived>::of(&column);
    assert_eq!(archives.len(), records.len());
    let views = as_views::<T::Archived>(&column);
    let viewed = Archives::<T::Archived>::of(&views);
    for (row, record) in records.iter().enumerate() {
        assert_eq!(native::<T>(viewed.get(row)), *record);
    }
    // Through a payload, and what a filter or a shuffle does.
    let mut again = ArchiveBuilder::<T>::default();
    (0..records.len()).for_each(|row| again.push_archive(&archives, row));
    let payload = Buffer::from_vec(again.finish_payload());
    let read = read_payload::<T::Archived>(&payload, records.len()).unwrap();
    let rows = UInt32Array::from(picked.to_vec());
    let same = |column: &ArrayRef, picked: &mut dyn Iterator<Item = u32>| {
        let archives = Archives::<T::Archived>::of(column);
        assert_eq!(archives.len(), column.len());
        for (row, pick) in picked.enumerate() {
            assert_eq!(native::<T>(archives.get(row)), records[pick as usize]);
        }
    };
    if let Some(first) = pick(&read, &rows) {
        let from_last = UInt32Array::from_iter_values((0..rows.len() as u32).rev());
        let again = pick(&first, &from_last).unwrap();
        same(&again, &mut picked.iter().rev().copied());
        same(&as_views::<T::Archived>(&again), &mut picked.iter().rev().copied());
        same(&first.slice(first.len() / 2, 0), &mut std::iter::empty());
    }
    let taken = take(&read, &rows, None).unwrap();
    drop((payload, read));
    same(&taken, &mut picked.iter().copied());
}

proptest! {
    #[test]
    fn records_come_back(
        flat in prop::collection::vec((any::<i64>(), any::<u32>(), any::<bool>()), 1..40),
        tall in prop::collection::vec((".{0,12}", prop::collection::vec(any::<u64>(), 0..3), prop::option::of(".{0,20}")), 1..40),
        texts in prop::collection::vec(".{0,12}", 1..40),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
    ) {
        let picked = |count: usize| picks.iter().map(|pick| pick.index(count) as u32).collect::<Vec<_>>();
        let flat: Vec<Flat> = flat.into_iter().map(|(at_ms, page, seen)| Flat { at_ms, page, seen }).collect();
        check(&flat, &picked(flat.len()));
        let tall: Vec<Tall> = tall.into_iter()
            .map(|(name, ids, next)| Tall { name, ids, next: next.map(String::into_boxed_str) })
            .collect();
        check(&tall, &picked(tall.len()));
        check(&texts, &picked(texts.len()));
        check(&[(); 3], &picked(3));
        // Pointers of vectors that are empty stay aligned, whatever the root's size.
        let places: Vec<(u32, Vec<u64>)> = (0..texts.len() as u32).map(|n| (n, vec![7; usize::from(n == 30)])).collect();
        check(&places, &picked(places.len()));
        let numbers: Vec<u64> = (0..texts.len() as u64).collect();
        check(&numbers, &picked(numbers.len()));
    }

    #[test]
    fn damaged_payloads_are_refused_or_harmless(
        texts in prop::collection::vec(".{0,30}", 1..10),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut builder = ArchiveBuilder::<Tall>::default();
        for name in &texts {
            builder.push(&Tall { name: name.clone(), ids: vec![7; name.len() % 3], next: None }).unwrap();
        }
        let mut payload = builder.finish_payload();
        flips.iter().for_each(|(at, flip)| { let at = at.index(payload.len()); payload[at] ^= flip; });
        payload.truncate(cut.index(payload.len()) + 1);
        if let Ok(column) = read_payload::<ArchivedTall>(&Buffer::from_vec(payload), texts.len()) {
            let archives = Archives::<ArchivedTall>::of(&column);
            for row in 0..archives.len() {
                native::<Tall>(archives.get(row));
            }
        }
    }
}

#[test]
fn records_without_strings_are_one_slice() {
    let mut builder = ArchiveBuilder::<Flat>::default();
    for page in 0..3 {
        builder.push(&Flat { at_ms: 1, page, seen: true }).unwrap();
    }
    let column = builder.finish();
    let Archives::Roots(records) = Archives::<ArchivedFlat>::of(&column) else { panic!() };
    assert_eq!(records.iter().map(|record| record.page.to_native()).sum::<u32>(), 3);
}
