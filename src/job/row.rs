//! Rows and keys of several columns: a value stands for one column, a tuple for as many as it has parts.

use arrow_array::ArrayRef;

use super::field::{Column, Field, Key, Row, column_of};
use crate::batch::DataType;

impl<C: Column> Row for C {
    const WIDTH: usize = 1;
    type View<'a> = C::View<'a>;

    fn types() -> Vec<(DataType, bool)> {
        vec![(C::DATA_TYPE, C::NULLABLE)]
    }

    fn view(columns: &[ArrayRef]) -> Self::View<'_> {
        C::view(columns[0].as_ref())
    }

    #[inline]
    fn get(column: Self::View<'_>, row: usize) -> Self {
        C::get(column, row)
    }

    fn misfit(columns: &[ArrayRef]) -> Option<usize> {
        C::is_out_of_range(&columns[0]).then_some(0)
    }
}

impl<F: Field + 'static> Key for F {
    type Owned = F::Column;

    fn column(_: usize, rows: usize, keys: impl Iterator<Item = Self>) -> ArrayRef {
        column_of(rows, keys)
    }
}

macro_rules! rows {
    ($($name:ident $index:tt),*) => {
        impl<$($name: Column),*> Row for ($($name,)*) {
            const WIDTH: usize = [$($index),*].len();
            type View<'a> = ($($name::View<'a>,)*);

            fn types() -> Vec<(DataType, bool)> {
                vec![$(($name::DATA_TYPE, $name::NULLABLE)),*]
            }

            fn view(columns: &[ArrayRef]) -> Self::View<'_> {
                ($($name::view(columns[$index].as_ref()),)*)
            }

            #[inline]
            fn get(columns: Self::View<'_>, row: usize) -> Self {
                ($($name::get(columns.$index, row),)*)
            }

            fn misfit(columns: &[ArrayRef]) -> Option<usize> {
                let mut misfit = None;
                $(if misfit.is_none() && $name::is_out_of_range(&columns[$index]) {
                    misfit = Some($index);
                })*
                misfit
            }
        }
    };
}

macro_rules! tuples {
    ($($name:ident $index:tt),*) => {
        rows!($($name $index),*);

        impl<$($name: Field + 'static),*> Key for ($($name,)*) {
            type Owned = ($($name::Column,)*);

            fn column(part: usize, rows: usize, keys: impl Iterator<Item = Self>) -> ArrayRef {
                match part {
                    $($index => column_of(rows, keys.map(|key| key.$index)),)*
                    _ => unreachable!("a key has as many columns as parts"),
                }
            }
        }
    };
}

tuples!(A 0, B 1);
tuples!(A 0, B 1, C 2);
tuples!(A 0, B 1, C 2, D 3);
tuples!(A 0, B 1, C 2, D 3, E 4);
tuples!(A 0, B 1, C 2, D 3, E 4, F 5);
rows!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
rows!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);
rows!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8);
rows!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9);
rows!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10);
rows!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11);
