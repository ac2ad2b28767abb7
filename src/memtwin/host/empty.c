/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a 32-bit program loads instead of the recorder: nothing, without a complaint of its loader (meson.build). */
extern int memtwin_records_64_bit_programs_only;
