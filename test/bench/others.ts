/** Figures that others give of their systems, with their conditions; part of docs/benchmarks.md. */
export const OTHERS = `## Figures of others

Not of this run and not of this machine: what the projects, or who measured them, say, and how.

| system | figure | how it was made |
|---|---|---|
| kernel passthrough (patch series of 2021) | sequential read 471 → 1,791 MiB/s (without FUSE 1,839), write 95 → 1,068 (1,322), random read 25 → 860 (1,135) | cover letter of patchwork 20210118192748.584213-1: FUSE without and with passthrough |
| hf-mount, warm | 5.7–7.1 GB/s, first byte after 0.6–0.8 ms | 100 MB file, m6i.2xlarge, cache in /dev/shm, 5 opens, reads of 4 MiB (huggingface/hf-mount#24) |
| hf-mount, cold | 432 MB/s, first byte after 201 ms | the same |
| hf-mount, \`from_pretrained\` | 4.30 s → 0.81 s with FOPEN_KEEP_CACHE | 9.6 GiB of safetensors, m6i.xlarge, page cache hot (huggingface/hf-mount#130) |
| mountpoint-s3 | sequential read 1,482 MiB/s; with a disk cache 1,145; random reads of 256 KiB 2.2 MiB/s, with a disk cache 214; write 1,027 | fio 30 s, blocks of 256 KiB, 100 GiB file, m5dn.24xlarge with 100 Gbit/s, median of its last 10 commits at 58817ca |
| JuiceFS | create 1,410/s, stat 5,023/s, open and close 3,488/s, unlink 1,163/s | mdtest -b 6 -I 8 -z 4, c5.large, Redis on another c5.large (docs/en/benchmark/mdtest.md) |
| JuiceFS | a walk through a mapping by one thread 1–3 GB/s | fal-ai/flashpack#24 |
| GeeseFS | create 2,504/s, stat 109,301/s, read 7,498/s | mdtest, 64 threads (bench/README.md) |
| kubo \`ipfs mount\` | 0.2–4.3 MiB/s, where \`ipfs cat\` does about 250 | 2016, ipfs/kubo#2166; none are published for the rewrite in 0.41 |

Measured by us on another 2-core machine (kernel 6.18, ext4, 1 GiB file, 5,000 files, medians of 3; ratio to ext4): libfuse's
\`passthrough_hp\` with passthrough reads cold at 0.99 and warm at 0.96, writes with fsync at 1.13, creates at 0.37, opens and closes at 0.06;
bindfs 0.63, 0.27, 0.05, 0.42, 0.08; rclone with a full cache 0.32, 0.10, 0.39, 0.08, 0.03; an echo of a directory in JavaScript over
fuse-native 0.80, 0.21, 0.02, 0.18, 0.04.
`
