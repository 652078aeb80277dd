/** The roots of a store: which are kept, what they need, and carrying one in a file. */
export { CarFile } from './car-file.ts'
export { withCar } from './car-source.ts'
export { type CollectedNodes, collectNodes } from './collect-nodes.ts'
export { KeptFiles } from './kept-files.ts'
export { KeptRoots } from './kept-roots.ts'
export { type Block, rootBlocks } from './root-blocks.ts'
export { type Difference, treeDifferences } from './tree-difference.ts'
export { carOf } from './write-car.ts'
