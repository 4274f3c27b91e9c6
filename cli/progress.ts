// A progress bar on a terminal; silence where standard error is a file or a pipe.

export interface ProgressBar {
  update(done: number, total: number): void
  end(): void
}

const WIDTH = 30

export function progressBar(label: string, stream: NodeJS.WriteStream = process.stderr): ProgressBar {
  if (!stream.isTTY) return { update: () => {}, end: () => {} }
  let drawnAt = 0
  return {
    update: (done, total) => {
      const now = performance.now()
      if (now - drawnAt < 100 && done < total) return
      drawnAt = now
      const share = total > 0 ? Math.min(1, done / total) : 0
      const filled = Math.round(share * WIDTH)
      stream.write(
        `\r${label} ${'█'.repeat(filled)}${'░'.repeat(WIDTH - filled)} ${(share * 100).toFixed(0).padStart(3)} %\x1b[K`,
      )
    },
    end: () => {
      stream.write('\r\x1b[K')
    },
  }
}
