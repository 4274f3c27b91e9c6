// Fastify's own validator, loaded and compiled when a request first has something to validate: most routes have
// nothing, and Ajv with its meta-schema takes a twentieth of a process's start.
import { createRequire } from 'node:module'
import type { BuildCompilerFromPool } from '@fastify/ajv-compiler'

type Options = Parameters<BuildCompilerFromPool>[1]
type Route = { schema: unknown }
interface Validate {
  (data: unknown): unknown
  errors?: unknown
}
type BuildValidator = (externalSchemas: unknown, options?: Options) => (route: Route) => Validate

const require = createRequire(import.meta.url)
let build: BuildValidator | undefined

/** For Fastify's `schemaController`. What it validates with is what Fastify would. */
export const lazyValidator = ((externalSchemas, options) => (route) => {
  let validate: Validate | undefined
  const lazily: Validate = (data) => {
    // Its pool gives one compiler for all routes of the same schemas and options.
    build ??= (require('@fastify/ajv-compiler') as () => BuildValidator)()
    validate ??= build(externalSchemas, options)(route)
    const answer = validate(data)
    lazily.errors = validate.errors
    return answer
  }
  return lazily
}) satisfies BuildValidator as unknown as BuildCompilerFromPool
