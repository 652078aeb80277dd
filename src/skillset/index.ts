/** ONNX models served from a directory, as any program would read it. */
export * from './embed.ts'
export * from './infer.ts'
